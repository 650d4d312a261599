"""Steps run by Snakemake, on this machine or on a cluster: what is left of them, resumed after a kill at any point."""
