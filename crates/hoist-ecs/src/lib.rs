//! Task definitions, service definitions, Fargate sizes, diff, plan and price of Amazon ECS, as pure functions
