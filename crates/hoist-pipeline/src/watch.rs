use crate::{Cancel, Events, Failure, Journal};
pub struct Watched<'a> { pub aws: &'a hoist_aws::Client, pub embedded: bool, pub cluster: &'a str, pub service: &'a str, pub revision: &'a str, pub container: Option<&'a str>, pub digest: String, pub known_deployment: Option<String>, pub previous: Option<&'a str>, pub timeout: std::time::Duration, pub journal: &'a Journal }
pub async fn to_the_end(_: &Watched<'_>, _: &Cancel, _: &Events) -> Result<String, Failure> { unimplemented!() }
