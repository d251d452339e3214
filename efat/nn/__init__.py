"""What is done to an nn.Module: lowering to matrix products, masking, repair, emulation."""
