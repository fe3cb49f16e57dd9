"""The program inside the application: OpAMP events to settings applied and confirmed."""
