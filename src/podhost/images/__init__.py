"""CRI ImageService: transport by skopeo, content store, unpacking, overlay snapshots, garbage collection."""
