//! The embedded AWS: API endpoints, image registry, load balancer, logs; state on disk
