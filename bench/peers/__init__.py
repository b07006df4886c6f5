"""The peers: each as its own documentation has it, on the PostgreSQL of the run where it uses one."""
