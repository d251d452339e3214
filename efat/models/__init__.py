"""Networks as plain `nn.Module`s, in the field's own layout and names."""
