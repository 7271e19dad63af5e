//! How each instruction is written, for hints.

pub(super) fn usage(keyword: &str) -> String {
    let form = match keyword {
        "ADD" => "ADD [--chown=user:group] [--chmod=mode] SOURCE... DESTINATION",
        "ARG" => "ARG NAME[=default]",
        "COPY" => "COPY [--from=stage] [--chown=user:group] [--chmod=mode] SOURCE... DESTINATION",
        "ENTRYPOINT" => "ENTRYPOINT [\"program\", \"argument\"]",
        "ENV" => "ENV NAME=value",
        "EXPOSE" => "EXPOSE port[/protocol]",
        "FROM" => "FROM [--platform=os/architecture] IMAGE [AS name]",
        "HEALTHCHECK" => "HEALTHCHECK [--interval=30s] CMD command, or HEALTHCHECK NONE",
        "LABEL" => "LABEL name=value",
        "MAINTAINER" => "MAINTAINER name",
        "ONBUILD" => "ONBUILD INSTRUCTION",
        "RUN" => "RUN command, or RUN [\"program\", \"argument\"]",
        "SHELL" => "SHELL [\"/bin/bash\", \"-c\"]",
        "STOPSIGNAL" => "STOPSIGNAL signal",
        "USER" => "USER user[:group]",
        "VOLUME" => "VOLUME path",
        "WORKDIR" => "WORKDIR path",
        _ => "INSTRUCTION arguments",
    };
    format!("write {form}")
}
