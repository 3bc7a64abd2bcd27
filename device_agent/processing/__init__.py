"""What happens before and after the runtime: the same code at packaging and on the device."""
