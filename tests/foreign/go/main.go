// An unmodified Apache RocketMQ Go client as a command: each subcommand does one thing against a
// server and prints JSON objects, one per line, on stdout. Same options and same output as the Java
// program beside it.
//
//	foreign --namesrv ADDR send --topic T --mode sync|async|oneway|batch --count N -- consume-push …
//
// After each subcommand comes {"end":NAME,"ok":true}, or with "ok":false and an "error". The exit
// status is 1 when one failed.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"strings"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const clientModule = "github.com/apache/rocketmq-client-go/v2"

var subcommands = map[string]func(options) error{
	"version":         func(options) error { return report(map[string]any{}) },
	"send":            send,
	"consume-push":    consumePush,
	"consume-poll":    consumePoll,
	"consume-pull":    consumePull,
	"rebalance":       rebalance,
	"retry":           retry,
	"retry-polled":    retryPolled,
	"listen":          listen,
	"broadcast":       broadcast,
	"delay":           delay,
	"request":         request,
	"request-unheard": requestUnheard,
	"respond":         respond,
	"trace":           trace,
	"admin":           administer,
}

func main() {
	level := os.Getenv("FOREIGN_LOG_LEVEL")
	if level == "" {
		level = "fatal"
	}
	rlog.SetLogLevel(level)
	global, at := []string{}, 1
	for at+1 < len(os.Args) && strings.HasPrefix(os.Args[at], "--") {
		global = append(global, os.Args[at], os.Args[at+1])
		at += 2
	}
	if at >= len(os.Args) || subcommands[os.Args[at]] == nil {
		names := []string{}
		for name := range subcommands {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Fprintln(os.Stderr, "usage: --namesrv ADDR SUBCOMMAND [--option value]… [-- SUBCOMMAND …]\nsubcommands:", names)
		os.Exit(2)
	}
	failed := false
	for at < len(os.Args) {
		end := at
		for end < len(os.Args) && os.Args[end] != "--" {
			end++
		}
		failed = !run(global, os.Args[at:end]) || failed
		at = end + 1
	}
	if failed {
		os.Exit(1)
	}
}

func run(global, words []string) (ok bool) {
	name := words[0]
	subcommand := subcommands[name]
	if subcommand == nil {
		_ = report(map[string]any{"end": name, "ok": false, "error": "no such subcommand"})
		return false
	}
	if err := subcommand(parse(append(append([]string{}, global...), words[1:]...))); err != nil {
		_ = report(map[string]any{"end": name, "ok": false, "error": err.Error()})
		return false
	}
	return report(map[string]any{"end": name, "ok": true}) == nil
}

// report prints one JSON object on one line, with the client's version.
func report(fields map[string]any) error {
	fields["client"] = version()
	line, err := json.Marshal(fields)
	if err == nil {
		_, err = fmt.Println(string(line))
	}
	return err
}

// version tells the version of the client that was really linked in.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == clientModule {
				return "rocketmq-client-go " + module.Version + " (Go)"
			}
		}
	}
	return "rocketmq-client-go, version unknown"
}
