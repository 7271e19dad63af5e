#!/usr/bin/env bash
# The embedded load balancer against nginx, side by side: the same client (wrk), the same target (nginx answering a small file of its
# own), keep-alive on both sides, one round of each in turn.
#
#   benches/proxy.sh PROGRAM [ROUNDS [SECONDS [CONNECTIONS [get|post|rules|headers|sticky|tls|sticky-tls]]]]
#
# `post` sends bodies of 1 KiB; with `rules` the second of two rules leads to the target, with `headers` the second of two rules by header. With
# `sticky` every request comes back to one of two targets by its cookie, which every answer sets anew; nginx, which has no such sessions, finds
# the target by a map of a cookie, and adds two cookies to the answer. With `tls` clients speak TLS 1.3 to a certificate of
# a key on P-256, to both the same. PROGRAM is hoist; wrk, nginx, openssl and the AWS CLI have to be there. Prints requests a second of each
# round, the medians, and their ratio.
set -euo pipefail
program=$(realpath "$1")
rounds=${2:-5} seconds=${3:-5} connections=${4:-64} kind=${5:-get}
folder=$(mktemp -d)
export HOIST_HOME="$folder/home" AWS_PAGER=
finish() {
  "$program" local stop >/dev/null 2>&1 || true
  if [ -f "$folder/nginx.pid" ]; then kill "$(cat "$folder/nginx.pid")"; fi
  rm -rf "$folder"
}
trap finish EXIT

scheme=http port=80 ssl= certificate= upstream=target cookies=
case $kind in *tls)
  scheme=https port=443 ssl=ssl certificate="ssl_certificate $folder/it.pem; ssl_certificate_key $folder/it.key; ssl_protocols TLSv1.3;"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=bench -addext subjectAltName=DNS:bench \
    -keyout "$folder/it.key" -out "$folder/it.pem" 2> /dev/null
  ;;
esac
case $kind in
  headers) upstream="\$stage" ;;
  sticky*)
    upstream="\$place"
    cookies='add_header Set-Cookie "place=$cookie_place; Expires=Thu, 31 Dec 2099 23:59:59 GMT; Path=/";
      add_header Set-Cookie "placeCORS=$cookie_place; Expires=Thu, 31 Dec 2099 23:59:59 GMT; Path=/; SameSite=None";'
    ;;
esac

cat > "$folder/nginx.conf" <<CONF
worker_processes 2;
pid $folder/nginx.pid;
error_log $folder/error.log;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000;
  upstream target { server 127.0.0.1:18081; keepalive 256; keepalive_requests 1000000; }
  upstream other { server 127.0.0.1:18082; keepalive 256; keepalive_requests 1000000; }
  map \$cookie_place \$place { default target; two other; }
  map \$http_x_stage \$stage { default none; blue target; }
  server { listen 127.0.0.1:18081; listen 127.0.0.1:18082; location / { return 200 "0123456789012345678901234567890123456789012345678901234567890123"; } }
  server {
    listen 127.0.0.1:18080 $ssl;
    $certificate
    location / {
      proxy_pass http://$upstream;
      $cookies
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host \$host;
      proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto \$scheme;
      proxy_set_header X-Forwarded-Port \$server_port;
    }
  }
}
CONF
case $kind in
  post) printf 'wrk.method = "POST"\nwrk.body = string.rep("x", 1024)\n' > "$folder/wrk.lua" ;;
  headers) printf 'wrk.headers["X-Stage"] = "blue"\n' > "$folder/wrk.lua" ;;
  get | rules | tls | sticky | sticky-tls) printf '' > "$folder/wrk.lua" ;;
  *) echo "what is $kind?" >&2; exit 2 ;;
esac
nginx -p "$folder" -c "$folder/nginx.conf"

"$program" local start >/dev/null
eval "$("$program" local env)"
subnets=$(aws ec2 describe-subnets --query 'Subnets[].SubnetId' --output text)
vpc=$(aws ec2 describe-subnets --query 'Subnets[0].VpcId' --output text)
# shellcheck disable=SC2086 # several subnets
balancer=$(aws elbv2 create-load-balancer --name bench --subnets $subnets --query 'LoadBalancers[0].LoadBalancerArn' --output text)
group=$(aws elbv2 create-target-group --name bench --protocol HTTP --port 18081 --vpc-id "$vpc" --target-type ip \
  --health-check-interval-seconds 5 --health-check-timeout-seconds 2 --query 'TargetGroups[0].TargetGroupArn' --output text)
default="Type=forward,TargetGroupArn=$group"
case $kind in rules | headers) default='Type=fixed-response,FixedResponseConfig={StatusCode=404}' ;; esac
secure=()
if [ $scheme = https ]; then
  shown=$(aws acm import-certificate --certificate "fileb://$folder/it.pem" --private-key "fileb://$folder/it.key" --query CertificateArn --output text)
  secure=(--certificates "CertificateArn=$shown")
fi
listener=$(aws elbv2 create-listener --load-balancer-arn "$balancer" --protocol "${scheme^^}" --port $port "${secure[@]}" \
  --default-actions "$default" --query 'Listeners[0].ListenerArn' --output text)
if [ "$kind" = headers ]; then
  for rule in '1 green' '2 blue'; do
    aws elbv2 create-rule --listener-arn "$listener" --priority "${rule% *}" --actions "Type=forward,TargetGroupArn=$group" \
      --conditions "Field=http-header,HttpHeaderConfig={HttpHeaderName=X-Stage,Values=[${rule#* }]}" >/dev/null
  done
fi
if [ "$kind" = rules ]; then
  for rule in '1 /none/*' '2 /*'; do
    aws elbv2 create-rule --listener-arn "$listener" --priority "${rule% *}" --conditions "Field=path-pattern,Values=${rule#* }" \
      --actions "Type=forward,TargetGroupArn=$group" >/dev/null
  done
fi
aws elbv2 register-targets --target-group-arn "$group" --targets Id=127.0.0.1,Port=18081
case $kind in sticky*)
  aws elbv2 modify-target-group-attributes --target-group-arn "$group" \
    --attributes Key=stickiness.enabled,Value=true Key=stickiness.type,Value=lb_cookie >/dev/null
  aws elbv2 register-targets --target-group-arn "$group" --targets Id=127.0.0.1,Port=18082
  ;;
esac
aws elbv2 wait target-in-service --target-group-arn "$group"
name=$(aws elbv2 describe-load-balancers --names bench --query 'LoadBalancers[0].DNSName' --output text)

# As a browser: what was set is sent from then on.
case $kind in sticky*)
  for _ in one two; do
    curl --silent --insecure --output /dev/null --dump-header - "$scheme://$name/" \
      | sed -n 's/^set-cookie: \([^;]*\);.*/\1/Ip' | tr -d '\r' | paste -s -d ';' >> "$folder/cookies"
  done
  awk 'BEGIN { print "cookies = {}" } { gsub(";", "; "); print "cookies[" NR "] = \"" $0 "; place=" (NR == 1 ? "one" : "two") "\"" }' \
    "$folder/cookies" > "$folder/wrk.lua"
  cat >> "$folder/wrk.lua" <<'LUA'
local n, asked = 0, {}
function init() for i, c in ipairs(cookies) do asked[i] = wrk.format("GET", nil, { Cookie = c, Host = wrk.headers.Host }) end end
function request() n = n % 2 + 1 return asked[n] end
LUA
  ;;
esac

load() { wrk -t2 "-c$connections" "-d${seconds}s" -s "$folder/wrk.lua" "$1" | tee -a "$folder/wrk.log" | awk '/Requests\/sec/ { print int($2) }'; }
median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
load "$scheme://$name/" >/dev/null
for round in $(seq "$rounds"); do
  nginx=$(load $scheme://127.0.0.1:18080/)
  hoist=$(load "$scheme://$name/")
  echo "$nginx" >> "$folder/nginx.txt"
  echo "$hoist" >> "$folder/hoist.txt"
  echo "round $round: nginx $nginx, hoist $hoist requests/s"
done
if grep -E 'Non-2xx|Socket errors' "$folder/wrk.log"; then echo "some requests failed" >&2; exit 1; fi
n=$(median < "$folder/nginx.txt") h=$(median < "$folder/hoist.txt")
echo "medians: nginx $n, hoist $h requests/s; hoist/nginx $(awk -v h="$h" -v n="$n" 'BEGIN { printf "%.2f", h / n }')"
