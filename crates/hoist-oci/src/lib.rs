//! OCI content: digests, image references, manifests, the image store and the registry client
