//! Target groups, the load balancers before them, and their listeners.

use hoist_aws::{Service, read};
use serde_json::{Value, json};

use super::{Work, failing};
use crate::failure::{Failure, Kind};

impl Work<'_> {
    /// Makes what the load balancers of a service definition name.
    pub(super) async fn balancers(
        &mut self,
        service: &str,
        definition: &mut Value,
        settings: Option<&Value>,
        subnets: &[String],
    ) -> Result<(), Failure> {
        let count = definition["loadBalancers"].as_array().map_or(0, Vec::len);
        for index in 0..count {
            let entry = &mut definition["loadBalancers"][index];
            let given = entry["targetGroupArn"].as_str().map(str::to_owned);
            let port = entry["containerPort"].as_u64().unwrap_or(80);
            let name = match given.as_deref() {
                Some(name) if !name.starts_with("arn:") => name.to_owned(),
                Some(arn) => {
                    // arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID
                    let name = arn.split('/').nth(1).unwrap_or(arn).to_owned();
                    if self.group(&name, "TargetGroupArns", arn).await?.is_some() {
                        continue;
                    }
                    name
                }
                None if count == 1 => balancer_name(self.app, service),
                None => balancer_name(self.app, &format!("{service}-{index}")),
            };
            let arn = match self.group(&name, "Names", &name).await? {
                Some(arn) => arn,
                None => self.make_group(&name, port, settings).await?,
            };
            if self.events.is_some() && arn.is_empty() {
                let message = format!("the target group {name} has no ARN");
                return Err(Failure::new(Kind::Unexpected, message));
            }
            if let Some(given) = given.filter(|_| !arn.is_empty()) {
                self.mapped(&given, &arn);
            }
            if !arn.is_empty() {
                definition["loadBalancers"][index]["targetGroupArn"] = json!(arn);
            }
            self.listener(&name, &arn, subnets).await?;
        }
        Ok(())
    }

    /// The ARN of a target group that exists.
    async fn group(&self, name: &str, by: &str, is: &str) -> Result<Option<String>, Failure> {
        let what = format!("the target group {name}");
        // An ARN of another partition or malformed is as unknown as one that is absent.
        let absent = ["TargetGroupNotFound", "ValidationError"];
        let request = json!({ by: [is] });
        let seen = self
            .seen(
                &what,
                Service::Elbv2,
                "DescribeTargetGroups",
                request,
                &absent,
            )
            .await?;
        Ok(seen.and_then(|seen| {
            let group = read::target_groups(&seen).next()?;
            Some(group.arn().to_owned())
        }))
    }

    async fn make_group(
        &mut self,
        name: &str,
        port: u64,
        settings: Option<&Value>,
    ) -> Result<String, Failure> {
        let answer = self.described("DescribeVpcs").await?;
        let mut request = json!({
            "Name": name,
            "Protocol": "HTTP",
            "Port": port,
            "TargetType": "ip",
            "VpcId": answer["vpcSet"][0]["vpcId"],
            "Tags": [{ "Key": "hoist:app", "Value": self.app }],
        });
        let settings = settings.and_then(Value::as_object);
        for (member, value) in settings.into_iter().flatten() {
            if member != "Attributes" {
                request[member] = value.clone();
            }
        }
        let what = format!("the target group {name}");
        let fail = failing(&what);
        let made = self
            .make(what, Service::Elbv2, "CreateTargetGroup", request)
            .await?;
        let arn = read::target_groups(&made).next();
        let arn = arn.map_or("", |group| group.arn()).to_owned();
        if let (Some(attributes), false) = (
            settings.and_then(|settings| settings.get("Attributes")),
            arn.is_empty(),
        ) {
            let request = json!({ "TargetGroupArn": arn, "Attributes": attributes });
            self.aws
                .query(Service::Elbv2, "ModifyTargetGroupAttributes", &request)
                .await
                .map_err(fail)?;
        }
        Ok(arn)
    }

    /// The load balancer and its listener.
    async fn listener(
        &mut self,
        name: &str,
        group: &str,
        subnets: &[String],
    ) -> Result<(), Failure> {
        let what = format!("the load balancer {name}");
        let request = json!({ "Names": [name] });
        let absent = ["LoadBalancerNotFound"];
        let seen = self
            .seen(
                &what,
                Service::Elbv2,
                "DescribeLoadBalancers",
                request,
                &absent,
            )
            .await?;
        let arn_of = |answer: &Value| {
            let balancer = read::balancers(answer).next();
            balancer.map_or("", |balancer| balancer.arn()).to_owned()
        };
        let balancer = match seen {
            Some(seen) => arn_of(&seen),
            None => {
                let request = json!({
                    "Name": name,
                    "Type": "application",
                    "Scheme": "internet-facing",
                    "Subnets": subnets,
                    "Tags": [{ "Key": "hoist:app", "Value": self.app }],
                });
                let made = self
                    .make(what.clone(), Service::Elbv2, "CreateLoadBalancer", request)
                    .await?;
                arn_of(&made)
            }
        };
        if !balancer.is_empty() {
            let request = json!({ "LoadBalancerArn": balancer });
            let seen = self
                .seen(&what, Service::Elbv2, "DescribeListeners", request, &[])
                .await?;
            if seen.is_some_and(|seen| read::list(&seen, "Listeners").len() > 0) {
                return Ok(());
            }
        }
        let request = json!({
            "LoadBalancerArn": balancer,
            "Protocol": "HTTP",
            "Port": 80,
            "DefaultActions": [{ "Type": "forward", "TargetGroupArn": group }],
        });
        let what = format!("the listener on port 80 of {name}");
        self.make(what, Service::Elbv2, "CreateListener", request)
            .await
            .map(drop)
    }
}

/// At most 32 characters, as names of load balancers and target groups must be; a digest keeps long ones apart.
fn balancer_name(app: &str, service: &str) -> String {
    let whole: String = format!("{app}-{service}")
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect();
    let whole = whole.trim_matches('-').to_owned();
    if whole.len() <= 32 {
        return whole;
    }
    let digest = hoist_oci::Digest::of(whole.as_bytes()).hex()[..6].to_owned();
    format!("{}-{digest}", whole[..25].trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_fit_and_stay_apart() {
        let first = balancer_name("a-very-long-application-name", "web-one");
        let second = balancer_name("a-very-long-application-name", "web-two");
        assert!(first.len() <= 32 && second.len() <= 32);
        assert_ne!(first, second);
        assert_eq!(balancer_name("shop", "web"), "shop-web");
    }
}
