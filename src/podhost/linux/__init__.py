"""The only folder that touches the kernel and processes; typed, with errno and path in every error."""
