import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;

/** Asks a server each line of a file (method, path, body, how it is sent) with Java's client as it comes. */
public class Ask {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        for (var line : Files.readAllLines(Path.of(arguments[1]))) {
            var fields = line.split("\t", -1);
            var body = BodyPublishers.ofByteArray(Base64.getDecoder().decode(fields[2]));
            // Without a length it is sent in chunks.
            var publisher = fields[3].equals("chunks") ? BodyPublishers.fromPublisher(body) : body;
            var request = HttpRequest.newBuilder(URI.create(arguments[0] + fields[1]))
                .method(fields[0], fields[2].isEmpty() ? BodyPublishers.noBody() : publisher)
                .build();
            var response = client.send(request, BodyHandlers.ofByteArray());
            var type = response.headers().firstValue("content-type").orElse("");
            var answer = Base64.getEncoder().encodeToString(response.body());
            System.out.println(response.statusCode() + "\t" + type + "\t" + answer);
        }
    }
}
