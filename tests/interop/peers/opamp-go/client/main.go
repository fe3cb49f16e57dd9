// A program around opamp-go's client. It prints one JSON line for whatever happens, and does what
// it reads on its standard input, a JSON object a line: {"do": "health"}, {"do": "config-status"},
// {"do": "effective"}, {"do": "custom"}, {"do": "stop"}. It decides nothing by itself.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/open-telemetry/opamp-go/client"
	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
)

type order struct {
	Do, State, Error, Text, Capability, Type string
	Hash                                     string
	Healthy                                  bool
}

type printer struct {
	lock sync.Mutex
	out  *json.Encoder
}

func (p *printer) say(event string, fields map[string]any) {
	p.lock.Lock()
	defer p.lock.Unlock()
	line := map[string]any{"event": event}
	for key, value := range fields {
		line[key] = value
	}
	_ = p.out.Encode(line)
}

var states = map[string]protobufs.RemoteConfigStatuses{
	"applied":  protobufs.RemoteConfigStatuses_RemoteConfigStatuses_APPLIED,
	"applying": protobufs.RemoteConfigStatuses_RemoteConfigStatuses_APPLYING,
	"failed":   protobufs.RemoteConfigStatuses_RemoteConfigStatuses_FAILED,
}

func text(key, value string) *protobufs.KeyValue {
	return &protobufs.KeyValue{Key: key, Value: &protobufs.AnyValue{
		Value: &protobufs.AnyValue_StringValue{StringValue: value},
	}}
}

func files(config *protobufs.AgentRemoteConfig) map[string]any {
	found := map[string]any{}
	for name, file := range config.GetConfig().GetConfigMap() {
		found[name] = map[string]string{"body": string(file.Body), "type": file.ContentType}
	}
	return map[string]any{"hash": hex.EncodeToString(config.ConfigHash), "files": found}
}

func said(message *types.MessageData) map[string]any {
	fields := map[string]any{}
	if message.RemoteConfig != nil {
		fields["remote_config"] = files(message.RemoteConfig)
	}
	if message.AgentIdentification != nil {
		fields["uid"] = hex.EncodeToString(message.AgentIdentification.NewInstanceUid)
	}
	if message.CustomMessage != nil {
		fields["custom"] = map[string]string{
			"capability": message.CustomMessage.Capability,
			"type":       message.CustomMessage.Type,
			"data":       string(message.CustomMessage.Data),
		}
	}
	if message.CustomCapabilities != nil {
		fields["custom_capabilities"] = message.CustomCapabilities.Capabilities
	}
	if message.OwnTracesConnSettings != nil {
		fields["own_traces"] = message.OwnTracesConnSettings.DestinationEndpoint
	}
	return fields
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func trust(path string) *tls.Config {
	if path == "" {
		return nil
	}
	pem, err := os.ReadFile(path)
	check(err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		log.Fatalf("no certificate in %s", path)
	}
	return &tls.Config{RootCAs: pool}
}

func main() {
	url := flag.String("url", "", "where the server is; its scheme chooses the transport")
	uid := flag.String("uid", "", "instance uid, 32 hex digits")
	gzip := flag.Bool("gzip", false, "compress")
	heartbeat := flag.Duration("heartbeat", 30*time.Second, "interval of heartbeats or polls")
	token := flag.String("token", "", "sent as a bearer token")
	ca := flag.String("ca", "", "a file of trusted certificates")
	capability := flag.String("capability", "", "a custom capability")
	flag.Parse()

	out := &printer{out: json.NewEncoder(os.Stdout)}
	agent := client.OpAMPClient(client.NewWebSocket(nil))
	if strings.HasPrefix(*url, "http") {
		agent = client.NewHTTP(nil)
	}
	var instance types.InstanceUid
	raw, err := hex.DecodeString(*uid)
	check(err)
	copy(instance[:], raw)
	effective, lock := "{}", sync.Mutex{}

	check(agent.SetAgentDescription(&protobufs.AgentDescription{
		IdentifyingAttributes:    []*protobufs.KeyValue{text("service.name", "go-agent")},
		NonIdentifyingAttributes: []*protobufs.KeyValue{text("os.type", "linux")},
	}))
	check(agent.SetHealth(&protobufs.ComponentHealth{Healthy: true, Status: "running"}))
	capabilities := protobufs.AgentCapabilities_AgentCapabilities_AcceptsRemoteConfig |
		protobufs.AgentCapabilities_AgentCapabilities_ReportsRemoteConfig |
		protobufs.AgentCapabilities_AgentCapabilities_ReportsEffectiveConfig |
		protobufs.AgentCapabilities_AgentCapabilities_ReportsHealth |
		protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat |
		protobufs.AgentCapabilities_AgentCapabilities_ReportsOwnTraces |
		protobufs.AgentCapabilities_AgentCapabilities_AcceptsRestartCommand
	check(agent.SetCapabilities(&capabilities))
	if *capability != "" {
		check(agent.SetCustomCapabilities(
			&protobufs.CustomCapabilities{Capabilities: []string{*capability}}))
	}
	header := http.Header{}
	if *token != "" {
		header.Set("Authorization", "Bearer "+*token)
	}
	check(agent.Start(context.Background(), types.StartSettings{
		OpAMPServerURL:    *url,
		Header:            header,
		TLSConfig:         trust(*ca),
		InstanceUid:       instance,
		EnableCompression: *gzip,
		HeartbeatInterval: heartbeat,
		Callbacks: types.Callbacks{
			OnConnect: func(context.Context) { out.say("connect", nil) },
			OnConnectFailed: func(_ context.Context, err error) {
				out.say("connect-failed", map[string]any{"error": err.Error()})
			},
			OnError: func(_ context.Context, err *protobufs.ServerErrorResponse) {
				out.say("error", map[string]any{"type": err.Type.String(), "text": err.ErrorMessage})
			},
			OnMessage: func(_ context.Context, message *types.MessageData) {
				out.say("message", said(message))
			},
			OnCommand: func(_ context.Context, command *protobufs.ServerToAgentCommand) error {
				out.say("command", map[string]any{"type": command.Type.String()})
				return nil
			},
			GetEffectiveConfig: func(context.Context) (*protobufs.EffectiveConfig, error) {
				lock.Lock()
				defer lock.Unlock()
				return &protobufs.EffectiveConfig{ConfigMap: &protobufs.AgentConfigMap{
					ConfigMap: map[string]*protobufs.AgentConfigFile{
						"": {Body: []byte(effective), ContentType: "application/json"},
					},
				}}, nil
			},
		},
	}))

	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var given order
		check(json.Unmarshal(lines.Bytes(), &given))
		switch given.Do {
		case "config-status":
			hash, err := hex.DecodeString(given.Hash)
			check(err)
			check(agent.SetRemoteConfigStatus(&protobufs.RemoteConfigStatus{
				LastRemoteConfigHash: hash, Status: states[given.State], ErrorMessage: given.Error,
			}))
		case "effective":
			lock.Lock()
			effective = given.Text
			lock.Unlock()
			check(agent.UpdateEffectiveConfig(context.Background()))
		case "health":
			check(agent.SetHealth(&protobufs.ComponentHealth{
				Healthy: given.Healthy, LastError: given.Error,
			}))
		case "custom":
			_, err := agent.SendCustomMessage(&protobufs.CustomMessage{
				Capability: given.Capability, Type: given.Type, Data: []byte(given.Text),
			})
			check(err)
		case "stop":
			check(agent.Stop(context.Background()))
			out.say("stopped", nil)
			return
		}
	}
}
