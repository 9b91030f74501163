"""What a lambda is given. It runs beside user code, apart from the service, and knows the API alone."""
