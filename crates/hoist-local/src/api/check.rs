//! Requests against the shapes of their service: what cannot be read, what is missing, what is not allowed, in the words of the service.

use serde_json::Value;

use super::error::ApiError;
use super::services::{Protocol, Service};
use super::shapes::{Kind, Model, Range, Shape, model};

/// Checks the parameters of a call. Members that the model does not know are let through, as the services do.
///
/// # Errors
/// What the service answers: first what cannot be read at all, then everything that is not allowed.
pub fn check(service: Service, action: &str, params: &Value) -> Result<(), ApiError> {
    let Some(model) = model(service.signing_name()) else {
        return Ok(());
    };
    let Some(input) = model.input(action) else {
        return Ok(());
    };
    let mut check = Check {
        model,
        service,
        found: Vec::new(),
    };
    check.read(input, "", params)?;
    check.judge(input, "", params);
    check.refuse(action)
}

struct Check {
    model: &'static Model,
    service: Service,
    found: Vec<Violation>,
}

/// A constraint that is not kept.
struct Violation {
    path: String,
    /// As it is quoted in the message.
    value: String,
    constraint: String,
    /// The wire name of a member that is missing.
    missing: Option<&'static str>,
}

impl Check {
    /// Whether every value is of a kind that the service can read.
    fn read(&self, name: &str, path: &str, value: &Value) -> Result<(), ApiError> {
        if value.is_null() {
            return Ok(());
        }
        let scalar = |kind| self.read_scalar(kind, path, value);
        if let Some(kind) = Kind::of(name) {
            return scalar(kind);
        }
        match self.model.shape(name) {
            Some(Shape::Structure(members)) => {
                let Value::Object(fields) = value else {
                    return self.read_no(path, value, "Unexpected value type in payload");
                };
                for member in members {
                    if let Some(value) = fields.get(member.wire) {
                        self.read(member.shape, &join(path, member.name), value)?;
                    }
                }
                Ok(())
            }
            Some(Shape::List(item, _)) => match value {
                Value::Array(items) => items
                    .iter()
                    .enumerate()
                    .try_for_each(|(index, it)| self.read(item, &nth(path, index), it)),
                _ => self.read_no(path, value, "Expected list or null"),
            },
            Some(Shape::Map(_, of, _)) => match value {
                Value::Object(entries) => entries
                    .iter()
                    .try_for_each(|(key, it)| self.read(of, &join(path, key), it)),
                // In the query protocols a map is a list of entries.
                _ if self.service.protocol() != Protocol::Json => Ok(()),
                _ => self.read_no(path, value, "Expected map or null"),
            },
            Some(Shape::Enum(_)) => scalar(Kind::String),
            Some(Shape::Scalar(kind, ..)) => scalar(*kind),
            None => Ok(()),
        }
    }

    fn read_scalar(&self, kind: Kind, path: &str, value: &Value) -> Result<(), ApiError> {
        if self.service.protocol() != Protocol::Json {
            return self.read_text(kind, path, value);
        }
        let sent = match value {
            Value::String(_) if matches!(kind, Kind::String | Kind::Blob | Kind::Timestamp) => {
                return Ok(());
            }
            Value::Number(_) if matches!(kind, Kind::Double | Kind::Timestamp) => return Ok(()),
            Value::Number(it)
                if matches!(kind, Kind::Integer | Kind::Long)
                    && it.as_f64().is_some_and(|number| number.fract() == 0.0) =>
            {
                return Ok(());
            }
            Value::Bool(_) if kind == Kind::Boolean => return Ok(()),
            Value::String(_) => "STRING_VALUE",
            Value::Number(it) if it.is_f64() => "DECIMAL_VALUE",
            Value::Number(_) => "NUMBER_VALUE",
            Value::Bool(true) => "TRUE_VALUE",
            Value::Bool(false) => "FALSE_VALUE",
            _ => return self.read_no(path, value, ""),
        };
        Err(ApiError::serialization(format!(
            "{sent} can not be converted to {}",
            kind.name()
        )))
    }

    fn read_text(&self, kind: Kind, path: &str, value: &Value) -> Result<(), ApiError> {
        let Value::String(text) = value else {
            return self.read_no(path, value, "");
        };
        let good = text.is_empty()
            || match kind {
                Kind::Integer | Kind::Long => text.parse::<i64>().is_ok(),
                Kind::Boolean => {
                    ["true", "false", "1", "0"].contains(&text.to_ascii_lowercase().as_str())
                }
                Kind::Double => text.parse::<f64>().is_ok(),
                _ => true,
            };
        if good {
            return Ok(());
        }
        Err(if self.service.protocol() == Protocol::Ec2 {
            let (name, expected) = (path.rsplit('.').next().unwrap_or(path), kind.name());
            ApiError::new(
                "InvalidParameterValue",
                format!("Value ({text}) for parameter {name} is invalid. Expected {expected}"),
            )
        } else {
            ApiError::new(
                "MalformedInput",
                format!("'{text}' can not be converted to {}", kind.name()),
            )
        })
    }

    /// A structure where none can be read, or the other way round.
    fn read_no(&self, path: &str, value: &Value, otherwise: &str) -> Result<(), ApiError> {
        if self.service.protocol() != Protocol::Json {
            let code = match self.service.protocol() {
                Protocol::Ec2 => "InvalidParameterValue",
                _ => "MalformedInput",
            };
            let text = format!("The parameter {path} is not of the form that it must have");
            return Err(ApiError::new(code, text));
        }
        Err(ApiError::serialization(match value {
            Value::Object(_) => "Start of structure or map found where not expected.",
            Value::Array(_) => "Start of list found where not expected",
            _ => otherwise,
        }))
    }

    /// Whether every value keeps to the constraints.
    fn judge(&mut self, name: &str, path: &str, value: &Value) {
        let model = self.model;
        match (model.shape(name), value) {
            (Some(Shape::Structure(members)), Value::Object(fields)) => {
                for member in members {
                    let path = join(path, member.name);
                    match fields.get(member.wire).filter(|it| !it.is_null()) {
                        Some(value) => self.judge(member.shape, &path, value),
                        None if member.required && self.needs(&path) => {
                            self.found.push(Violation {
                                value: "null".to_owned(),
                                constraint: "Member must not be null".to_owned(),
                                missing: Some(member.wire),
                                path,
                            });
                        }
                        None => {}
                    }
                }
            }
            (Some(Shape::List(item, range)), Value::Array(items)) => {
                self.length(path, value, items.len(), *range);
                for (index, it) in items.iter().enumerate() {
                    self.judge(item, &nth(path, index), it);
                }
            }
            (Some(Shape::Map(key, of, range)), Value::Object(entries)) => {
                self.length(path, value, entries.len(), *range);
                for (name, it) in entries {
                    self.judge(key, &format!("{path}.key"), &Value::String(name.clone()));
                    self.judge(of, &format!("{path}.{name}.member"), it);
                }
            }
            // What EC2 does not know by name it refuses in words of its own.
            (Some(Shape::Enum(words)), Value::String(text))
                if self.service != Service::Ec2 && !words.contains(&text.as_str()) =>
            {
                let words = words.join(", ");
                self.violated(path, value, format!("satisfy enum value set: [{words}]"));
            }
            (Some(Shape::Scalar(kind, range, pattern)), _) => {
                self.scalar(path, value, *kind, *range);
                if let (Some((text, pattern)), Value::String(value)) = (pattern, value)
                    && !pattern.matches(value)
                {
                    let constraint = format!("satisfy regular expression pattern: {text}");
                    self.violated(path, &Value::String(value.clone()), constraint);
                }
            }
            _ => {}
        }
    }

    /// ECS words what is missing at the top and in containers itself.
    fn needs(&self, path: &str) -> bool {
        self.service != Service::Ecs
            || (path.contains('.') && !path.starts_with("containerDefinitions"))
    }

    fn scalar(&mut self, path: &str, value: &Value, kind: Kind, range: Range) {
        if kind == Kind::String || kind == Kind::Blob {
            let length = value.as_str().map(|text| text.chars().count());
            return self.length(path, value, length.unwrap_or(0), range);
        }
        let number = match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_f64(),
        };
        let Some(number) = number else { return };
        if let Some(least) = range.least.filter(|least| number < *least) {
            self.violated(
                path,
                value,
                format!("have value greater than or equal to {least}"),
            );
        }
        if let Some(most) = range.most.filter(|most| number > *most) {
            self.violated(
                path,
                value,
                format!("have value less than or equal to {most}"),
            );
        }
    }

    fn length(&mut self, path: &str, value: &Value, length: usize, range: Range) {
        let length = length as f64;
        if let Some(least) = range.least.filter(|least| length < *least) {
            self.violated(
                path,
                value,
                format!("have length greater than or equal to {least}"),
            );
        }
        if let Some(most) = range.most.filter(|most| length > *most) {
            self.violated(
                path,
                value,
                format!("have length less than or equal to {most}"),
            );
        }
    }

    fn violated(&mut self, path: &str, value: &Value, constraint: String) {
        self.found.push(Violation {
            path: path.to_owned(),
            value: quoted(value),
            constraint: format!("Member must {constraint}"),
            missing: None,
        });
    }

    /// The answer to all that was found.
    fn refuse(self, action: &str) -> Result<(), ApiError> {
        let Some(first) = self.found.first() else {
            return Ok(());
        };
        match self.service {
            Service::Ec2 => {
                return Err(match first.missing {
                    Some(name) => ApiError::new(
                        "MissingParameter",
                        format!("The request must contain the parameter {name}"),
                    ),
                    None => {
                        let name = first.path.rsplit('.').next().unwrap_or(&first.path);
                        ApiError::new(
                            "InvalidParameterValue",
                            format!(
                                "Value ({}) for parameter {name} is invalid. {}",
                                first.value.trim_matches('\''),
                                first.constraint
                            ),
                        )
                    }
                });
            }
            Service::Ecr => {
                // ECR names one, and writes patterns as `must satisfy regular expression '...'`.
                let constraint = match first.constraint.split_once("pattern: ") {
                    Some((_, pattern)) => format!("must satisfy regular expression '{pattern}'"),
                    None => first.constraint.clone(),
                };
                let text = format!(
                    "Invalid parameter at '{}' failed to satisfy constraint: '{constraint}'",
                    first.path
                );
                return Err(ApiError::new("InvalidParameterException", text));
            }
            _ => {}
        }
        let count = self.found.len();
        let each: Vec<String> = self
            .found
            .iter()
            .map(|it| {
                format!(
                    "Value {} at '{}' failed to satisfy constraint: {}",
                    it.value, it.path, it.constraint
                )
            })
            .collect();
        let plural = if count == 1 { "" } else { "s" };
        let text = format!(
            "{count} validation error{plural} detected: {}",
            each.join("; ")
        );
        Err(ApiError::new(code(self.service, action), text))
    }
}

/// The code of a request that does not keep to the constraints.
fn code(service: Service, action: &str) -> &'static str {
    match service {
        Service::Ecs if action.contains("TaskDefinition") => "ClientException",
        Service::Ecs | Service::Ecr | Service::Logs => "InvalidParameterException",
        _ if service.signing_name() == "servicediscovery" => "InvalidInput",
        _ if service.protocol() == Protocol::Json => "ValidationException",
        _ => "ValidationError",
    }
}

/// The path of a member: its first letter is small, whatever the model says.
fn join(path: &str, name: &str) -> String {
    let mut letters = name.chars();
    let name = match letters.next() {
        Some(first) => first.to_lowercase().collect::<String>() + letters.as_str(),
        None => String::new(),
    };
    if path.is_empty() {
        name
    } else {
        format!("{path}.{name}")
    }
}

fn nth(path: &str, index: usize) -> String {
    format!("{path}.{}.member", index + 1)
}

/// A value as Java prints it, in quotes.
fn quoted(value: &Value) -> String {
    fn plain(value: &Value) -> String {
        match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(plain).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Object(members) => {
                let members: Vec<String> = members
                    .iter()
                    .map(|(name, value)| format!("{name}={}", plain(value)))
                    .collect();
                format!("{{{}}}", members.join(", "))
            }
            other => other.to_string(),
        }
    }
    format!("'{}'", plain(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kinds_are_told_as_the_services_tell_them() {
        for (params, message) in [
            (
                json!({"desiredCount": "2"}),
                "STRING_VALUE can not be converted to an Integer",
            ),
            (
                json!({"desiredCount": 1.5}),
                "DECIMAL_VALUE can not be converted to an Integer",
            ),
            (
                json!({"cluster": 7}),
                "NUMBER_VALUE can not be converted to a String",
            ),
            (
                json!({"cluster": []}),
                "Start of list found where not expected",
            ),
            (
                json!({"cluster": {}}),
                "Start of structure or map found where not expected.",
            ),
            (json!({"loadBalancers": "x"}), "Expected list or null"),
            (
                json!({"loadBalancers": {}}),
                "Start of structure or map found where not expected.",
            ),
            (
                json!({"enableExecuteCommand": "yes"}),
                "STRING_VALUE can not be converted to a Boolean",
            ),
            (
                json!({"deploymentConfiguration": true}),
                "Unexpected value type in payload",
            ),
        ] {
            let error = check(Service::Ecs, "CreateService", &params).unwrap_err();
            assert_eq!(error, ApiError::serialization(message), "{params}");
        }
        let good = json!({"serviceName": "x", "desiredCount": 2, "unknown": 1, "cluster": null});
        assert_eq!(check(Service::Ecs, "CreateService", &good), Ok(()));
    }

    #[test]
    fn all_that_is_not_allowed_is_told_at_once() {
        let error = check(Service::Iam, "CreateRole", &json!({"RoleName": "a b"})).unwrap_err();
        assert_eq!(error.code, "ValidationError");
        assert_eq!(
            error.message,
            "2 validation errors detected: Value 'a b' at 'roleName' failed to satisfy constraint: Member must satisfy regular expression \
             pattern: [\\w+=,.@-]+; Value null at 'assumeRolePolicyDocument' failed to satisfy constraint: Member must not be null"
        );
        let error = check(Service::Ec2, "DeleteSubnet", &json!({})).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            (
                "MissingParameter",
                "The request must contain the parameter SubnetId"
            )
        );
    }
}
