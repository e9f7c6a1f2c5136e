// Asks a server each line of a file (method, path, body, how it is sent) with Go's client.
package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func must[Value any](value Value, err error) Value {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func main() {
	content := must(os.ReadFile(os.Args[2]))
	for _, line := range strings.Split(strings.TrimSpace(string(content)), "\n") {
		fields := strings.Split(line, "\t")
		var body io.Reader
		if fields[2] != "" {
			body = bytes.NewReader(must(base64.StdEncoding.DecodeString(fields[2])))
			if fields[3] == "chunks" {
				// Of a reader of unknown length, which is sent in chunks.
				body = io.MultiReader(body)
			}
		}
		response := must(http.DefaultClient.Do(must(http.NewRequest(fields[0], os.Args[1]+fields[1], body))))
		answer := base64.StdEncoding.EncodeToString(must(io.ReadAll(response.Body)))
		response.Body.Close()
		fmt.Printf("%d\t%s\t%s\n", response.StatusCode, response.Header.Get("Content-Type"), answer)
	}
}
