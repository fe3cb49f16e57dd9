// The load generator of the OpAMP benchmark, and the server of opamp-go that it is measured against.
module llm-observe.test/opamp-bench

go 1.25.0

require (
	github.com/gorilla/websocket v1.5.3
	github.com/open-telemetry/opamp-go v0.23.0
	google.golang.org/protobuf v1.36.11
)
