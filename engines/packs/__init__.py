"""Model packs: folders of converted networks with a manifest, and the tool that makes the default one.

Knows numpy and onnx; knows nothing of pictures, of inference or of the network. The default pack comes from the pip
packages `face_recognition_models` and `mtcnn`, read as files: neither is imported.
"""
