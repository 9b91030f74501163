"""Lambdas on a Kubernetes cluster.

Each lambda is a Deployment of the platform's own image: an init container fetches and installs the lambda's code, and
the main container runs it. What is wanted of the objects is `manifests`, what is seen of them `seen`, and `keeper`
closes the gap. It knows nothing of rows and archives but what `WantedLambdas` says.
"""
