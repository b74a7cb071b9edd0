"""What tests run on a node of the lab, beside the real cluster."""
