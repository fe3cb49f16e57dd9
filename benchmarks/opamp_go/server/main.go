// A server made with opamp-go that does what ours does: it knows the last state of every agent,
// offers a config to all of them on "offer SIZE", and prints a JSON line when all have said yes.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opamp-go/server"
	"github.com/open-telemetry/opamp-go/server/types"
)

type known struct {
	connection  types.Connection
	description *protobufs.AgentDescription
	effective   *protobufs.EffectiveConfig
	status      *protobufs.RemoteConfigStatus
}

type fleet struct {
	lock   sync.Mutex
	agents map[string]*known
	offer  *protobufs.AgentRemoteConfig
	began  time.Time
	yes    int
	out    *json.Encoder
}

func (f *fleet) message(
	_ context.Context, connection types.Connection, message *protobufs.AgentToServer,
) *protobufs.ServerToAgent {
	f.lock.Lock()
	defer f.lock.Unlock()
	agent := f.agents[string(message.InstanceUid)]
	if agent == nil {
		agent = &known{}
		f.agents[string(message.InstanceUid)] = agent
	}
	agent.connection = connection
	if message.AgentDescription != nil {
		agent.description = message.AgentDescription
	}
	if message.EffectiveConfig != nil {
		agent.effective = message.EffectiveConfig
	}
	if message.RemoteConfigStatus != nil {
		agent.status = message.RemoteConfigStatus
		f.note(agent.status)
	}
	answer := &protobufs.ServerToAgent{InstanceUid: message.InstanceUid, Capabilities: 7}
	if f.offer != nil && !bytes.Equal(agent.status.GetLastRemoteConfigHash(), f.offer.ConfigHash) {
		answer.RemoteConfig = f.offer
	}
	return answer
}

func (f *fleet) note(status *protobufs.RemoteConfigStatus) {
	if f.offer == nil || !bytes.Equal(status.LastRemoteConfigHash, f.offer.ConfigHash) {
		return
	}
	f.yes++
	if f.yes == len(f.agents) {
		_ = f.out.Encode(map[string]any{"acknowledged": f.yes, "seconds": time.Since(f.began).Seconds()})
	}
}

func (f *fleet) push(size int) {
	body := bytes.Repeat([]byte(`{"key": "a value"} `), size/19+1)[:size]
	hash := sha256.Sum256(body)
	f.lock.Lock()
	f.began, f.yes = time.Now(), 0
	f.offer = &protobufs.AgentRemoteConfig{
		Config: &protobufs.AgentConfigMap{ConfigMap: map[string]*protobufs.AgentConfigFile{
			"llm-observe": {Body: body, ContentType: "application/json"},
		}},
		ConfigHash: hash[:],
	}
	targets := make(map[string]types.Connection, len(f.agents))
	for uid, agent := range f.agents {
		targets[uid] = agent.connection
	}
	f.lock.Unlock()
	for uid, connection := range targets {
		// Over HTTP this is an error, and the offer travels with the next answer.
		_ = connection.Send(context.Background(), &protobufs.ServerToAgent{
			InstanceUid: []byte(uid), Capabilities: 7, RemoteConfig: f.offer,
		})
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	flag.Parse()
	f := &fleet{agents: map[string]*known{}, out: json.NewEncoder(os.Stdout)}
	opamp := server.New(nil)
	err := opamp.Start(server.StartSettings{
		ListenEndpoint: *listen,
		Settings: server.Settings{Callbacks: types.Callbacks{
			OnConnecting: func(*http.Request) types.ConnectionResponse {
				return types.ConnectionResponse{
					Accept: true, ConnectionCallbacks: types.ConnectionCallbacks{OnMessage: f.message},
				}
			},
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = f.out.Encode(map[string]any{"address": opamp.Addr().String()})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var size int
		if _, err := fmt.Sscanf(lines.Text(), "offer %d", &size); err != nil {
			log.Fatal(err)
		}
		f.push(size)
	}
}
