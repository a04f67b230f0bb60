"""What every room shares: outputs, arguments, settings, files that are whole, optional packages."""
