// Reads lines of OTLP/JSON as the Collector's otlpjsonfile receiver does: each line with the
// decoders of pdata, and no line longer than the receiver takes by itself (1 MiB). Prints what it
// has read as one JSON object; a line that cannot be decoded ends it with a failure.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

const mostBytes = 1024 * 1024

type span struct {
	Trace      string         `json:"trace"`
	Span       string         `json:"span"`
	Name       string         `json:"name"`
	Kind       string         `json:"kind"`
	Start      uint64         `json:"start"`
	Service    string         `json:"service"`
	Attributes map[string]any `json:"attributes"`
}

type found struct {
	Lines   int      `json:"lines"`
	Spans   []span   `json:"spans"`
	Metrics []string `json:"metrics"`
}

func main() {
	if err := read(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	all := found{Spans: []span{}, Metrics: []string{}}
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, mostBytes), mostBytes)
	for lines.Scan() {
		all.Lines++
		if err := all.take(lines.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", all.Lines, err)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

func (f *found) take(line []byte) error {
	traces, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(line)
	if err != nil {
		return err
	}
	metrics, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(line)
	if err != nil {
		return err
	}
	for _, resource := range traces.ResourceSpans().All() {
		service, _ := resource.Resource().Attributes().Get("service.name")
		for _, scope := range resource.ScopeSpans().All() {
			for _, one := range scope.Spans().All() {
				f.Spans = append(f.Spans, span{
					one.TraceID().String(), one.SpanID().String(), one.Name(), one.Kind().String(),
					uint64(one.StartTimestamp()), service.AsString(), one.Attributes().AsRaw(),
				})
			}
		}
	}
	for _, resource := range metrics.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				f.Metrics = append(f.Metrics, metric.Name())
			}
		}
	}
	return nil
}
