// A program around opamp-go's server. It prints every message that arrives as one JSON line, and
// sends what it reads on its standard input, a JSON object a line: {"do": "send", "message": …}
// at once (WebSocket only), {"do": "answer", "message": …} with its next answer. Messages are
// ServerToAgent in protobuf's JSON form. It decides nothing by itself.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"os"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/open-telemetry/opamp-go/protobufs"
	"github.com/open-telemetry/opamp-go/server"
	"github.com/open-telemetry/opamp-go/server/types"
)

type order struct {
	Do      string
	Message json.RawMessage
}

type relay struct {
	lock    sync.Mutex
	out     *json.Encoder
	current types.Connection
	uid     []byte
	waiting []*protobufs.ServerToAgent
}

func (r *relay) say(event string, fields map[string]any) {
	line := map[string]any{"event": event}
	for key, value := range fields {
		line[key] = value
	}
	_ = r.out.Encode(line)
}

func (r *relay) message(
	_ context.Context, connection types.Connection, message *protobufs.AgentToServer,
) *protobufs.ServerToAgent {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.current, r.uid = connection, message.InstanceUid
	body, err := protojson.Marshal(message)
	check(err)
	r.say("message", map[string]any{"message": json.RawMessage(body)})
	answer := &protobufs.ServerToAgent{}
	if len(r.waiting) > 0 {
		answer, r.waiting = r.waiting[0], r.waiting[1:]
	}
	return r.complete(answer)
}

func (r *relay) complete(answer *protobufs.ServerToAgent) *protobufs.ServerToAgent {
	full := proto.Clone(answer).(*protobufs.ServerToAgent)
	full.InstanceUid = r.uid
	full.Capabilities = uint64(
		protobufs.ServerCapabilities_ServerCapabilities_AcceptsStatus |
			protobufs.ServerCapabilities_ServerCapabilities_OffersRemoteConfig |
			protobufs.ServerCapabilities_ServerCapabilities_AcceptsEffectiveConfig |
			protobufs.ServerCapabilities_ServerCapabilities_OffersConnectionSettings)
	return full
}

func (r *relay) do(given order) {
	r.lock.Lock()
	defer r.lock.Unlock()
	message := &protobufs.ServerToAgent{}
	check(protojson.Unmarshal(given.Message, message))
	if given.Do == "answer" {
		r.waiting = append(r.waiting, message)
		return
	}
	check(r.current.Send(context.Background(), r.complete(message)))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	gzip := flag.Bool("gzip", false, "compress")
	cert := flag.String("cert", "", "certificate file")
	key := flag.String("key", "", "its key")
	refuse := flag.Int("refuse", 0, "HTTP status for whoever comes without the bearer token")
	token := flag.String("token", "", "that token")
	flag.Parse()

	r := &relay{out: json.NewEncoder(os.Stdout)}
	calls := types.ConnectionCallbacks{
		OnMessage: r.message,
		OnConnectionClose: func(types.Connection) {
			r.lock.Lock()
			defer r.lock.Unlock()
			r.say("close", nil)
		},
	}
	settings := server.StartSettings{
		ListenEndpoint: *listen,
		Settings: server.Settings{
			EnableCompression: *gzip,
			Callbacks: types.Callbacks{
				OnConnecting: func(request *http.Request) types.ConnectionResponse {
					if *refuse != 0 && request.Header.Get("Authorization") != "Bearer "+*token {
						return types.ConnectionResponse{HTTPStatusCode: *refuse}
					}
					return types.ConnectionResponse{Accept: true, ConnectionCallbacks: calls}
				},
			},
		},
	}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		check(err)
		settings.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	opamp := server.New(nil)
	check(opamp.Start(settings))
	r.say("listening", map[string]any{"address": opamp.Addr().String()})

	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var given order
		check(json.Unmarshal(lines.Bytes(), &given))
		r.do(given)
	}
	check(opamp.Stop(context.Background()))
}
