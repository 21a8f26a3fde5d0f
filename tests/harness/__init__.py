"""What the end-to-end, fault and bench suites share: a real daemon, real kubectl, and a count of what is left."""
