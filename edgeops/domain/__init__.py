"""Values and pure rules that the rooms of the control plane share."""
