"""Types, ports, pipeline, store and evidence of Fieldline."""
