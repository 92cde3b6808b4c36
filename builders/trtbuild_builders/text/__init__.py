"""What the builders of text models share: settings of a head, public tensors, the comparison."""
