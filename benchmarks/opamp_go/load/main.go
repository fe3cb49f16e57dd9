// A crowd of OpAMP agents in one process. It does what it reads on its standard input, a word a
// line, and prints one JSON line when that is done:
//
//	connect   every agent connects and reports itself, its effective config included
//	beat N    heartbeats for N seconds, each waiting for its answer
//	await     until every agent has been offered a config and its yes was answered
//	quit
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/proto"

	"github.com/open-telemetry/opamp-go/protobufs"
)

const capabilities = uint64(
	protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus |
		protobufs.AgentCapabilities_AgentCapabilities_AcceptsRemoteConfig |
		protobufs.AgentCapabilities_AgentCapabilities_ReportsRemoteConfig |
		protobufs.AgentCapabilities_AgentCapabilities_ReportsEffectiveConfig |
		protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat)

// line is how an agent speaks: one message, and the answers to it.
type line interface {
	send(message []byte) error
	receive() (*protobufs.ServerToAgent, error)
}

type socket struct{ connection *websocket.Conn }

func (s *socket) send(message []byte) error {
	return s.connection.WriteMessage(websocket.BinaryMessage, append([]byte{0}, message...))
}

func (s *socket) receive() (*protobufs.ServerToAgent, error) {
	_, data, err := s.connection.ReadMessage()
	if err != nil {
		return nil, err
	}
	_, width := binary.Uvarint(data)
	answer := &protobufs.ServerToAgent{}
	return answer, proto.Unmarshal(data[width:], answer)
}

type post struct {
	url    string
	uid    string
	client *http.Client
	answer *protobufs.ServerToAgent
}

func (p *post) send(message []byte) error {
	request, err := http.NewRequest("POST", p.url, bytes.NewReader(message))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("OpAMP-Instance-UID", p.uid)
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d", response.StatusCode)
	}
	p.answer = &protobufs.ServerToAgent{}
	return proto.Unmarshal(body, p.answer)
}

func (p *post) receive() (*protobufs.ServerToAgent, error) { return p.answer, nil }

type agent struct {
	uid     [16]byte
	number  uint64
	line    line
	answers chan struct{}
	lock    sync.Mutex
	hash    []byte
}

type crowd struct {
	agents  []*agent
	applied atomic.Int64
	failed  atomic.Int64
	offered chan struct{}
}

func (a *agent) message(fill func(*protobufs.AgentToServer)) []byte {
	message := &protobufs.AgentToServer{
		InstanceUid: a.uid[:], SequenceNum: a.number, Capabilities: capabilities,
	}
	a.number++
	if fill != nil {
		fill(message)
	}
	data, err := proto.Marshal(message)
	check(err)
	return data
}

// say sends one message; its number and its bytes on the line are in the same order.
func (a *agent) say(fill func(*protobufs.AgentToServer)) error {
	a.lock.Lock()
	defer a.lock.Unlock()
	return a.line.send(a.message(fill))
}

func text(key, value string) *protobufs.KeyValue {
	return &protobufs.KeyValue{Key: key, Value: &protobufs.AnyValue{
		Value: &protobufs.AnyValue_StringValue{StringValue: value},
	}}
}

func introduce(number int, config []byte) func(*protobufs.AgentToServer) {
	return func(message *protobufs.AgentToServer) {
		message.AgentDescription = &protobufs.AgentDescription{
			IdentifyingAttributes: []*protobufs.KeyValue{
				text("service.name", "chat"), text("service.instance.id", fmt.Sprint(number)),
			},
			NonIdentifyingAttributes: []*protobufs.KeyValue{
				text("os.type", "linux"), text("host.name", fmt.Sprintf("host-%d", number%100)),
			},
		}
		message.EffectiveConfig = &protobufs.EffectiveConfig{ConfigMap: files(config)}
		message.RemoteConfigStatus = &protobufs.RemoteConfigStatus{}
	}
}

func files(config []byte) *protobufs.AgentConfigMap {
	return &protobufs.AgentConfigMap{ConfigMap: map[string]*protobufs.AgentConfigFile{
		"llm-observe": {Body: config, ContentType: "application/json"},
	}}
}

// take reads one answer and says yes to a config that is new.
func (c *crowd) take(a *agent, answer *protobufs.ServerToAgent) error {
	if answer.ErrorResponse != nil {
		return errors.New(answer.ErrorResponse.ErrorMessage)
	}
	config := answer.RemoteConfig
	if config == nil || bytes.Equal(config.ConfigHash, a.hash) {
		return nil
	}
	a.hash = config.ConfigHash
	err := a.say(func(message *protobufs.AgentToServer) {
		message.RemoteConfigStatus = &protobufs.RemoteConfigStatus{
			LastRemoteConfigHash: a.hash,
			Status:               protobufs.RemoteConfigStatuses_RemoteConfigStatuses_APPLIED,
		}
		message.EffectiveConfig = &protobufs.EffectiveConfig{ConfigMap: config.Config}
	})
	if c.applied.Add(1) == int64(len(c.agents)) {
		close(c.offered)
	}
	return err
}

func (c *crowd) listen(a *agent) {
	for {
		answer, err := a.line.receive()
		if err == nil {
			err = c.take(a, answer)
		}
		if err != nil {
			c.failed.Add(1)
			return
		}
		select {
		case a.answers <- struct{}{}:
		default:
		}
	}
}

// exchange says something and waits for the next answer.
func (c *crowd) exchange(a *agent, fill func(*protobufs.AgentToServer)) error {
	if err := a.say(fill); err != nil {
		return err
	}
	if p, ok := a.line.(*post); ok {
		return c.take(a, p.answer)
	}
	select {
	case <-a.answers:
		return nil
	case <-time.After(60 * time.Second):
		return errors.New("no answer")
	}
}

// each runs work for every agent on some workers, and counts what failed.
func (c *crowd) each(workers int, work func(int, *agent) error) {
	var group sync.WaitGroup
	var next atomic.Int64
	for range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				number := int(next.Add(1)) - 1
				if number >= len(c.agents) {
					return
				}
				if err := work(number, c.agents[number]); err != nil {
					if c.failed.Add(1) < 4 {
						log.Print(err)
					}
				}
			}
		}()
	}
	group.Wait()
}

func (c *crowd) connect(url string, workers int, config []byte) {
	shared := &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: workers, MaxConnsPerHost: workers,
	}}
	dialer := websocket.Dialer{HandshakeTimeout: 60 * time.Second, ReadBufferSize: 512, WriteBufferSize: 512}
	c.each(workers, func(number int, a *agent) error {
		if strings.HasPrefix(url, "http") {
			a.line = &post{url: url, uid: fmt.Sprintf("%x", a.uid), client: shared}
		} else {
			connection, _, err := dialer.Dial(url, nil)
			if err != nil {
				return err
			}
			a.line = &socket{connection}
			go c.listen(a)
		}
		return c.exchange(a, introduce(number, config))
	})
}

// beat sends heartbeats for some seconds, round after round, and counts them.
func (c *crowd) beat(seconds float64, workers int) int64 {
	var beats, next atomic.Int64
	until := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	var group sync.WaitGroup
	for range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			for time.Now().Before(until) {
				a := c.agents[int(next.Add(1)-1)%len(c.agents)]
				if c.exchange(a, nil) != nil {
					c.failed.Add(1)
					return
				}
				beats.Add(1)
			}
		}()
	}
	group.Wait()
	return beats.Load()
}

// poll heartbeats every agent once per interval until all have been offered the config.
func (c *crowd) poll(interval time.Duration) {
	for number, a := range c.agents {
		go func() {
			time.Sleep(interval * time.Duration(number) / time.Duration(len(c.agents)))
			for {
				select {
				case <-c.offered:
					return
				default:
				}
				if c.exchange(a, nil) != nil {
					c.failed.Add(1)
				}
				time.Sleep(interval)
			}
		}()
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	url := flag.String("url", "", "the server; its scheme chooses the transport")
	count := flag.Int("agents", 1000, "how many agents")
	workers := flag.Int("workers", 64, "exchanges at the same time")
	size := flag.Int("config", 4096, "bytes of each effective config")
	interval := flag.Duration("interval", 5*time.Second, "polling interval over HTTP")
	flag.Parse()

	c := &crowd{offered: make(chan struct{})}
	for number := range *count {
		a := &agent{answers: make(chan struct{}, 1)}
		binary.BigEndian.PutUint64(a.uid[:], 0x0197f9a000007000)
		binary.BigEndian.PutUint64(a.uid[8:], 0x8000000000000000|uint64(number))
		c.agents = append(c.agents, a)
	}
	config := bytes.Repeat([]byte(`{"key": "a value"} `), *size/19+1)[:*size]
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		began, done := time.Now(), int64(0)
		switch words[0] {
		case "connect":
			c.connect(*url, *workers, config)
			done = int64(*count)
		case "beat":
			var seconds float64
			_, err := fmt.Sscan(words[1], &seconds)
			check(err)
			done = c.beat(seconds, *workers)
		case "await":
			if strings.HasPrefix(*url, "http") {
				c.poll(*interval)
			}
			select {
			case <-c.offered:
			case <-time.After(120 * time.Second):
			}
			done = c.applied.Load()
		case "quit":
			return
		}
		check(out.Encode(map[string]any{
			"did": words[0], "count": done, "seconds": time.Since(began).Seconds(),
			"failed": c.failed.Load(),
		}))
	}
}
