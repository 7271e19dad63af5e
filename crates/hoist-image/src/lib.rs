//! From a Dockerfile to an OCI image
