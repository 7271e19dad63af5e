//! The query protocols: nested values become form parameters, XML answers become nested values.
//! See <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html> and `aws-ec2-query-protocol.html`.

use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Map, Value};

/// How lists are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// `Name.member.N`: AWS query.
    Member,
    /// `Name.N`: EC2 query.
    Plain,
}

/// Writes a request body: `Action`, `Version` and the flattened parameters.
pub fn form(action: &str, version: &str, params: &Value, lists: Lists) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", action);
    form.append_pair("Version", version);
    for (name, value) in flatten(params, lists) {
        form.append_pair(&name, &value);
    }
    form.finish()
}

/// Flattens nested parameters to name and text; null members are left out.
pub fn flatten(params: &Value, lists: Lists) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    add(&mut pairs, "", params, lists);
    pairs
}

fn add(pairs: &mut Vec<(String, String)>, name: &str, value: &Value, lists: Lists) {
    let below = |part: &str| {
        if name.is_empty() {
            part.to_owned()
        } else {
            format!("{name}.{part}")
        }
    };
    match value {
        Value::Null => {}
        Value::Bool(value) => pairs.push((name.to_owned(), value.to_string())),
        Value::Number(value) => pairs.push((name.to_owned(), value.to_string())),
        Value::String(value) => pairs.push((name.to_owned(), value.clone())),
        Value::Array(items) if items.is_empty() => {
            // AWS query tells an empty list from an absent one; EC2 query cannot.
            if lists == Lists::Member {
                pairs.push((name.to_owned(), String::new()));
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let part = match lists {
                    Lists::Member => format!("member.{}", at + 1),
                    Lists::Plain => (at + 1).to_string(),
                };
                add(pairs, &below(&part), item, lists);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                add(pairs, &below(key), member, lists);
            }
        }
    }
}

/// Reads an XML answer: the content of `<XResponse><XResult>`, or of `<XResponse>` where there is no result element (EC2).
///
/// Elements that hold only `member` or `item` become arrays, repeated elements become arrays, other elements become objects, text stays
/// text, and an element with nothing in it is null: XML does not tell an empty list from an empty text.
///
/// # Errors
/// When the text is not well-formed XML, with the reason.
pub fn answer(xml: &str) -> Result<Value, String> {
    let (_, mut root) = document(xml)?;
    if let Value::Object(members) = &mut root {
        let result = members.keys().find(|key| key.ends_with("Result")).cloned();
        let rest_is_metadata = members
            .keys()
            .all(|key| Some(key) == result.as_ref() || key == "ResponseMetadata");
        if let (Some(result), true) = (result, rest_is_metadata) {
            return Ok(match members.remove(&result) {
                Some(Value::Null) | None => Value::Object(Map::new()),
                Some(value) => value,
            });
        }
        members.remove("ResponseMetadata");
        members.remove("requestId");
    }
    Ok(if root.is_null() {
        Value::Object(Map::new())
    } else {
        root
    })
}

/// What an XML error answer says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// The code.
    pub code: Option<String>,
    /// The words.
    pub message: Option<String>,
    /// The request id.
    pub request_id: Option<String>,
}

/// Reads an XML error answer: `<ErrorResponse><Error>` of AWS query, `<Response><Errors><Error>` of EC2.
pub fn error_answer(xml: &str) -> ErrorAnswer {
    let Ok((_, root)) = document(xml) else {
        return ErrorAnswer::default();
    };
    let error = ["/Error", "/Errors/Error", "/Errors/0/Error", ""]
        .iter()
        .filter_map(|place| root.pointer(place))
        .find(|error| error.get("Code").is_some())
        .unwrap_or(&Value::Null);
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    ErrorAnswer {
        code: text(error, "Code"),
        message: text(error, "Message"),
        request_id: ["RequestId", "RequestID", "requestId"]
            .iter()
            .find_map(|key| text(&root, key)),
    }
}

#[derive(Default)]
struct Element {
    name: String,
    text: String,
    children: Vec<(String, Value)>,
}

impl Element {
    fn value(self) -> Value {
        if self.children.is_empty() {
            return if self.text.trim().is_empty() {
                Value::Null
            } else {
                Value::String(self.text)
            };
        }
        if self
            .children
            .iter()
            .all(|(name, _)| name == "member" || name == "item")
        {
            return Value::Array(self.children.into_iter().map(|(_, value)| value).collect());
        }
        let mut members = Map::new();
        let mut repeated: Vec<String> = Vec::new();
        for (name, value) in self.children {
            match members.get_mut(&name) {
                None => {
                    members.insert(name, value);
                }
                Some(Value::Array(items)) if repeated.contains(&name) => items.push(value),
                Some(first) => {
                    let first_value = first.take();
                    *first = Value::Array(vec![first_value, value]);
                    repeated.push(name);
                }
            }
        }
        Value::Object(members)
    }
}

/// Reads a document to the name of its root and its value.
fn document(xml: &str) -> Result<(String, Value), String> {
    let mut reader = Reader::from_str(xml);
    let mut open: Vec<Element> = Vec::new();
    loop {
        let event = reader
            .read_event()
            .map_err(|error| format!("malformed XML: {error}"))?;
        let closed = match event {
            Event::Start(tag) => {
                open.push(Element {
                    name: tag.local_name().as_ref().to_owned(),
                    ..Element::default()
                });
                None
            }
            Event::Empty(tag) => Some(Element {
                name: tag.local_name().as_ref().to_owned(),
                ..Element::default()
            }),
            Event::End(_) => open.pop(),
            Event::Text(text) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&text);
                }
                None
            }
            Event::CData(text) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&text);
                }
                None
            }
            Event::GeneralRef(reference) => {
                let name: &str = &reference;
                let text =
                    resolve(name).ok_or_else(|| format!("unknown XML reference &{name};"))?;
                if let Some(element) = open.last_mut() {
                    element.text.push(text);
                }
                None
            }
            Event::Eof => return Err("the answer ends before its last element does".to_owned()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => None,
        };
        if let Some(element) = closed {
            let name = element.name.clone();
            match open.last_mut() {
                Some(parent) => parent.children.push((name, element.value())),
                None => return Ok((name, element.value())),
            }
        }
    }
}

fn resolve(reference: &str) -> Option<char> {
    match reference {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = reference.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_are_flattened_in_both_ways() {
        let params = json!({
            "Name": "web", "Port": 80, "Internal": false, "Nothing": null, "Empty": [],
            "Subnets": ["subnet-1", "subnet-2"],
            "Actions": [{"Type": "forward", "TargetGroupArn": "arn:tg"}],
        });
        let text = |lists| {
            flatten(&params, lists)
                .into_iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect::<Vec<_>>()
                .join("&")
        };
        assert_eq!(
            text(Lists::Member),
            "Name=web&Port=80&Internal=false&Empty=&Subnets.member.1=subnet-1&Subnets.member.2=subnet-2&Actions.member.1.Type=forward&Actions.member.1.TargetGroupArn=arn:tg"
        );
        assert_eq!(
            text(Lists::Plain),
            "Name=web&Port=80&Internal=false&Subnets.1=subnet-1&Subnets.2=subnet-2&Actions.1.Type=forward&Actions.1.TargetGroupArn=arn:tg"
        );
        assert_eq!(
            form("A", "2015-12-01", &json!({"N": "a b&c"}), Lists::Member),
            "Action=A&Version=2015-12-01&N=a+b%26c"
        );
    }

    #[test]
    fn an_elbv2_answer_becomes_a_value() {
        let xml = r#"<DescribeTargetHealthResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">
  <DescribeTargetHealthResult>
    <TargetHealthDescriptions>
      <member>
        <HealthCheckPort>80</HealthCheckPort>
        <TargetHealth>
          <State>unhealthy</State>
          <Reason>Target.ResponseCodeMismatch</Reason>
          <Description>Health checks failed with these codes: [404]</Description>
        </TargetHealth>
        <Target><Port>80</Port><Id>10.0.0.7</Id><AvailabilityZone>eu-central-1a</AvailabilityZone></Target>
      </member>
    </TargetHealthDescriptions>
  </DescribeTargetHealthResult>
  <ResponseMetadata><RequestId>c534f810-f389-11e5-9192-3fff33344cfa</RequestId></ResponseMetadata>
</DescribeTargetHealthResponse>"#;
        let value = answer(xml).unwrap();
        let target = &value["TargetHealthDescriptions"][0];
        assert_eq!(target["Target"]["Id"], "10.0.0.7");
        assert_eq!(
            target["TargetHealth"]["Description"],
            "Health checks failed with these codes: [404]"
        );
        assert_eq!(value.as_object().unwrap().len(), 1);
    }

    #[test]
    fn an_ec2_answer_becomes_a_value() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeNetworkInterfacesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>fc45294c-006b-457b-bab9-012f5b3b0e40</requestId>
  <networkInterfaceSet>
    <item>
      <networkInterfaceId>eni-0f62d866</networkInterfaceId>
      <description>a &lt;b&gt; &amp; &#x63;</description>
      <association><publicIp>203.0.113.12</publicIp></association>
      <groupSet><item><groupId>sg-1</groupId></item><item><groupId>sg-2</groupId></item></groupSet>
      <tagSet/>
    </item>
  </networkInterfaceSet>
</DescribeNetworkInterfacesResponse>"#;
        let value = answer(xml).unwrap();
        let eni = &value["networkInterfaceSet"][0];
        assert_eq!(eni["association"]["publicIp"], "203.0.113.12");
        assert_eq!(eni["description"], "a <b> & c");
        assert_eq!(eni["groupSet"][1]["groupId"], "sg-2");
        assert_eq!(eni["tagSet"], Value::Null);
        assert_eq!(value.get("requestId"), None);
    }

    #[test]
    fn an_sts_answer_becomes_a_value_and_an_empty_one_an_object() {
        let xml = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/Alice</Arn><UserId>AKIAI44QH8DHBEXAMPLE</UserId><Account>123456789012</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata></GetCallerIdentityResponse>";
        assert_eq!(answer(xml).unwrap()["Account"], "123456789012");
        let none = "<DeleteListenerResponse><DeleteListenerResult/><ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></DeleteListenerResponse>";
        assert_eq!(answer(none).unwrap(), json!({}));
        let no_result = "<AttachRolePolicyResponse><ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></AttachRolePolicyResponse>";
        assert_eq!(answer(no_result).unwrap(), json!({}));
    }

    #[test]
    fn errors_of_both_protocols_are_read() {
        let query = "<ErrorResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\"><Error><Type>Sender</Type><Code>TargetGroupNotFound</Code><Message>One or more target groups not found</Message></Error><RequestId>r1</RequestId></ErrorResponse>";
        let found = error_answer(query);
        assert_eq!(
            (found.code.as_deref(), found.request_id.as_deref()),
            (Some("TargetGroupNotFound"), Some("r1"))
        );
        let ec2 = "<?xml version=\"1.0\"?><Response><Errors><Error><Code>InvalidSubnetID.NotFound</Code><Message>The subnet ID 'subnet-0' does not exist</Message></Error></Errors><RequestID>r2</RequestID></Response>";
        let found = error_answer(ec2);
        assert_eq!(found.code.as_deref(), Some("InvalidSubnetID.NotFound"));
        assert_eq!(
            found.message.as_deref(),
            Some("The subnet ID 'subnet-0' does not exist")
        );
        assert_eq!(found.request_id.as_deref(), Some("r2"));
        assert_eq!(
            error_answer("<html>502 Bad Gateway"),
            ErrorAnswer::default()
        );
    }

    #[test]
    fn a_truncated_answer_is_an_error() {
        assert!(
            answer("<A><AResult><B>1</B>")
                .unwrap_err()
                .contains("ends before")
        );
        assert!(answer("<A><B></A>").is_err());
    }

    #[test]
    fn repeated_elements_become_a_list() {
        assert_eq!(
            answer("<R><A>1</A><A>2</A><A>3</A><B>x</B></R>").unwrap(),
            json!({"A": ["1", "2", "3"], "B": "x"})
        );
    }
}
