"""edgeops: brings trained models to fleets of edge devices, and watches them there."""
