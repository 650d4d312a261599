"""Published weights: a catalogue as data, downloads that are verified, strangers' zips unpacked safely, and exports."""
