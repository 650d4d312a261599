"""Plans from presets: spacings, patches and topologies as JSON data, written by nnU-Net's own planner API."""
