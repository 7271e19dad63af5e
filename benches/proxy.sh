#!/usr/bin/env bash
# The embedded load balancer against nginx, side by side: the same client (wrk), the same target (nginx answering a small file of its
# own), keep-alive on both sides, one round of each in turn.
#
#   benches/proxy.sh PROGRAM [ROUNDS [SECONDS [CONNECTIONS [get|post|rules]]]]
#
# `post` sends bodies of 1 KiB; with `rules` the second of two rules leads to the target. PROGRAM is hoist; wrk, nginx and the AWS CLI have
# to be there. Prints requests a second of each round, the medians, and their ratio.
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

cat > "$folder/nginx.conf" <<CONF
worker_processes 2;
pid $folder/nginx.pid;
error_log $folder/error.log;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000;
  upstream target { server 127.0.0.1:18081; keepalive 256; keepalive_requests 1000000; }
  server { listen 127.0.0.1:18081; location / { return 200 "0123456789012345678901234567890123456789012345678901234567890123"; } }
  server {
    listen 127.0.0.1:18080;
    location / {
      proxy_pass http://target;
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
  get | rules) printf '' > "$folder/wrk.lua" ;;
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
if [ "$kind" = rules ]; then default='Type=fixed-response,FixedResponseConfig={StatusCode=404}'; fi
listener=$(aws elbv2 create-listener --load-balancer-arn "$balancer" --protocol HTTP --port 80 \
  --default-actions "$default" --query 'Listeners[0].ListenerArn' --output text)
if [ "$kind" = rules ]; then
  for rule in '1 /none/*' '2 /*'; do
    aws elbv2 create-rule --listener-arn "$listener" --priority "${rule% *}" --conditions "Field=path-pattern,Values=${rule#* }" \
      --actions "Type=forward,TargetGroupArn=$group" >/dev/null
  done
fi
aws elbv2 register-targets --target-group-arn "$group" --targets Id=127.0.0.1,Port=18081
aws elbv2 wait target-in-service --target-group-arn "$group"
name=$(aws elbv2 describe-load-balancers --names bench --query 'LoadBalancers[0].DNSName' --output text)

load() { wrk -t2 "-c$connections" "-d${seconds}s" -s "$folder/wrk.lua" "$1" | tee -a "$folder/wrk.log" | awk '/Requests\/sec/ { print int($2) }'; }
median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
load "http://$name/" >/dev/null
for round in $(seq "$rounds"); do
  nginx=$(load http://127.0.0.1:18080/)
  hoist=$(load "http://$name/")
  echo "$nginx" >> "$folder/nginx.txt"
  echo "$hoist" >> "$folder/hoist.txt"
  echo "round $round: nginx $nginx, hoist $hoist requests/s"
done
if grep -E 'Non-2xx|Socket errors' "$folder/wrk.log"; then echo "some requests failed" >&2; exit 1; fi
n=$(median < "$folder/nginx.txt") h=$(median < "$folder/hoist.txt")
echo "medians: nginx $n, hoist $h requests/s; hoist/nginx $(awk -v h="$h" -v n="$n" 'BEGIN { printf "%.2f", h / n }')"
