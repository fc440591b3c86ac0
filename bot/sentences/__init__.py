"""Every sentence that a person can see."""
