//! Containers on this machine: namespaces, control groups, overlay and network
