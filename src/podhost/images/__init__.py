"""CRI ImageService and Snapshotter: skopeo transports, content store, unpacking, overlay layers, collection.

Nothing in here starts containers or mounts: it hands out directories.  Registries are spoken to by skopeo only.
"""
