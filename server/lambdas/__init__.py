"""What runs lambdas: the process that takes their calls, and the runners that keep them apart.

It knows the domain and its ports, and how calls are authorised; no storage, no models, no gateway.
"""
