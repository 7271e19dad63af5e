//! The story of a deployment: build, test, push, register, roll out, verify, report
