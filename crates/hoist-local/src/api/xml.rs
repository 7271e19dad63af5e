//! Answers of the query protocols.
//!
//! Objects become elements named after their members, arrays become `<member>` lists (`<item>` in EC2), null is left out.

use quick_xml::escape::escape;
use serde_json::Value;

use super::error::ApiError;
use super::services::{Protocol, Service};

/// The answer to a call that succeeded.
pub fn answer(service: Service, action: &str, request_id: &str, value: &Value) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let namespace = service.namespace();
    out.push_str(&format!("<{action}Response xmlns=\"{namespace}\">"));
    if service.protocol() == Protocol::Ec2 {
        out.push_str(&format!("<requestId>{request_id}</requestId>"));
        members(&mut out, value, "item");
    } else {
        out.push_str(&format!("<{action}Result>"));
        members(&mut out, value, "member");
        out.push_str(&format!(
            "</{action}Result><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        ));
    }
    out.push_str(&format!("</{action}Response>"));
    out
}

/// The answer to a call that failed.
pub fn error(service: Option<Service>, request_id: &str, error: &ApiError) -> String {
    let (code, message) = (escape(&*error.code), escape(&*error.message));
    if service.is_some_and(|service| service.protocol() == Protocol::Ec2) {
        return format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message>\
             </Error></Errors><RequestID>{request_id}</RequestID></Response>"
        );
    }
    let namespace = service.map_or(
        "http://webservices.amazon.com/AWSFault/2005-15-09",
        Service::namespace,
    );
    let kind = if error.status >= 500 {
        "Receiver"
    } else {
        "Sender"
    };
    format!(
        "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{kind}</Type><Code>{code}</Code><Message>{message}</Message></Error>\
         <RequestId>{request_id}</RequestId></ErrorResponse>"
    )
}

fn members(out: &mut String, value: &Value, list: &str) {
    match value {
        Value::Object(map) => {
            for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                element(out, name, value, list);
            }
        }
        Value::Array(items) => {
            for item in items {
                element(out, list, item, list);
            }
        }
        Value::String(text) => out.push_str(&escape(&**text)),
        Value::Null => {}
        other => out.push_str(&other.to_string()),
    }
}

fn element(out: &mut String, name: &str, value: &Value, list: &str) {
    out.push('<');
    out.push_str(name);
    out.push('>');
    members(out, value, list);
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_are_named_by_the_protocol() {
        let value = json!({"Names": ["a&b", "c"], "Gone": null, "Deep": {"Port": 80, "On": true}, "Empty": []});
        assert_eq!(
            answer(Service::Elbv2, "Describe", "id-1", &value),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <DescribeResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\"><DescribeResult>\
             <Names><member>a&amp;b</member><member>c</member></Names><Deep><Port>80</Port><On>true</On></Deep><Empty></Empty>\
             </DescribeResult><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></DescribeResponse>"
        );
        let ec2 = answer(
            Service::Ec2,
            "DescribeVpcs",
            "id-2",
            &json!({"vpcSet": [{"vpcId": "vpc-1"}]}),
        );
        assert!(
            ec2.contains(
                "<requestId>id-2</requestId><vpcSet><item><vpcId>vpc-1</vpcId></item></vpcSet>"
            ),
            "{ec2}"
        );
    }
}
