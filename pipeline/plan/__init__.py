"""Every random decision of every sample, drawn before any pixel is touched."""
