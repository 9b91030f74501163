"""Model packs: folders of networks with a manifest, the tool that makes the default one, and the catalogue of others.

Knows numpy and onnx; knows nothing of pictures, of inference or of the network. The default pack comes from the pip
packages `face_recognition_models` and `mtcnn`, read as files: neither is imported.
"""
