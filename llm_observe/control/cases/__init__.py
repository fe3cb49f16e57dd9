"""Use cases, by what they are about. `control.service` joins them; doors call nothing else."""
