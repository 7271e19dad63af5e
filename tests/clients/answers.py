"""Holds every answer against botocore's own models: no member that the model does not have, no value of another type."""

import json
import xml.etree.ElementTree

wrong = []
"""What was wrong with the answers since it was last looked at."""


def watch(session):
    """Checks every answer to every client of a boto3 session."""
    session.events.register("before-parse", check)


def check(operation_model, response_dict, **_):
    if response_dict["status_code"] >= 300 or operation_model.has_event_stream_output:
        return
    name = f"{operation_model.service_model.service_name} {operation_model.name}"
    protocol = operation_model.service_model.resolved_protocol
    shape = operation_model.output_shape
    body = response_dict["body"]
    if protocol in ("json", "rest-json"):
        answer = json.loads(body or b"{}")
        if shape is None:
            wrong.extend([f"{name} answers {answer} where there is nothing to answer"] if answer else [])
        else:
            in_json(name, shape, answer)
    elif protocol in ("query", "ec2"):
        root = xml.etree.ElementTree.fromstring(body)
        if protocol == "query":
            result = next((it for it in root if tag(it) == f"{operation_model.name}Result"), None)
            if shape is not None and result is None:
                wrong.append(f"{name} answers no {operation_model.name}Result")
            root = result
        if shape is not None and root is not None:
            in_xml(name, shape, root, protocol, ["requestId"] if protocol == "ec2" else [])


DOCUMENTED = {
    # "Lifecycle stages for Amazon ECS service deployments" in the ECS developer guide; hooks have it in the model, deployments not yet.
    "ServiceDeploymentLifecycleStage": ["PRE_PRODUCTION_TRAFFIC_SHIFT"],
}
"""Words that the service documents and its model does not have."""

KINDS = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "double": (int, float),
    "float": (int, float),
    "timestamp": (int, float),
    "blob": str,
    "structure": dict,
    "map": dict,
    "list": list,
}


def in_json(path, shape, value):
    kind = KINDS[shape.type_name]
    if not isinstance(value, kind) or (isinstance(value, bool) and shape.type_name != "boolean"):
        wrong.append(f"{path} is {value!r}, not a {shape.type_name}")
    elif shape.type_name == "structure" and getattr(shape, "is_document_type", False):
        pass
    elif shape.type_name == "structure":
        for name, member in value.items():
            found = next((it for key, it in shape.members.items() if it.serialization.get("name", key) == name), None)
            if found is None:
                wrong.append(f"{path}.{name} is no member of {shape.name}")
            else:
                in_json(f"{path}.{name}", found, member)
        missing = [name for name in shape.required_members if name not in value]
        wrong.extend(f"{path} lacks {name}" for name in missing)
    elif shape.type_name == "list":
        for index, item in enumerate(value):
            in_json(f"{path}[{index}]", shape.member, item)
    elif shape.type_name == "map":
        for key, item in value.items():
            in_json(f"{path}[{key}]", shape.value, item)
    elif getattr(shape, "enum", None) and value not in [*shape.enum, *DOCUMENTED.get(shape.name, [])]:
        wrong.append(f"{path} is {value!r}, none of {shape.enum}")


def tag(element):
    return element.tag.rsplit("}", 1)[-1]


def in_xml(path, shape, element, protocol, ignored=()):
    text = (element.text or "").strip()
    if shape.type_name == "structure":
        names = {it.serialization.get("name", key): it for key, it in shape.members.items()}
        for child in element:
            found = names.get(tag(child))
            if found is not None:
                in_xml(f"{path}.{tag(child)}", found, child, protocol)
            elif tag(child) not in ignored:
                wrong.append(f"{path}.{tag(child)} is no member of {shape.name}")
        if text:
            wrong.append(f"{path} has the text {text!r}")
    elif shape.type_name == "list":
        expected = shape.member.serialization.get("name", "member")
        for child in element:
            if tag(child) != expected:
                wrong.append(f"{path} has a {tag(child)} where {expected} belongs")
            in_xml(f"{path}.{tag(child)}", shape.member, child, protocol)
    elif shape.type_name == "map":
        for entry in element:
            names = {tag(child): child for child in entry}
            if set(names) != {shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")}:
                wrong.append(f"{path} has an entry of {sorted(names)}")
    elif len(element):
        wrong.append(f"{path} has elements where a {shape.type_name} belongs")
    elif shape.type_name in ("integer", "long"):
        if not text.lstrip("-").isdigit():
            wrong.append(f"{path} is {text!r}, not a {shape.type_name}")
    elif shape.type_name == "boolean":
        if text not in ("true", "false"):
            wrong.append(f"{path} is {text!r}, not a boolean")
    elif shape.type_name == "timestamp":
        if len(text) < 20 or not text.endswith("Z"):
            wrong.append(f"{path} is {text!r}, not a timestamp")
    elif getattr(shape, "enum", None) and text not in shape.enum:
        wrong.append(f"{path} is {text!r}, none of {shape.enum}")
