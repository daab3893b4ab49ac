/*
 * LungXAI: what the scripts share and QuPath has no part in. Plain Java classes and Gson, which QuPath ships.
 *
 * Problem      an error with its code, message and remedy, as the server words them
 * Frames       SlideTiles -> bytes, bytes -> Heatmap (protocol 1; the layout is tabled below)
 * Connection   the server: token from a file, HTTP/1.1, no proxy, no redirects, answers read with a cap
 * Tissue       where a thumbnail has tissue; the tiles of a grid that hold enough of it
 * Steps        a heatmap cut into steps of its scale, as runs along its rows
 *
 * Written so that Groovy 2.4 to 5 compile it: no lambdas, no "var".
 * The scripts load this file with a GroovyClassLoader, since QuPath's scripts cannot import each other.
 *
 * offset   size  field of a frame (little-endian)
 * 0        4     magic "LXAI"
 * 4        2     protocol version
 * 6        2     kind: 2 SlideTiles, 4 Heatmap
 * 8        4     length h of the header
 * 12       8     length p of the payload
 * 20       4     CRC-32 of header and payload
 * 24       h     header: UTF-8 JSON
 * 24 + h   p     payload: of tiles raw uint8; of a heatmap float32, byte-shuffled, zlib
 *
 * Research use only, not a diagnosis.
 */

import com.google.gson.Gson
import com.google.gson.GsonBuilder
import com.google.gson.JsonParseException
import groovy.transform.CompileStatic
import java.net.http.HttpClient
import java.net.http.HttpConnectTimeoutException
import java.net.http.HttpRequest
import java.net.http.HttpResponse
import java.net.http.HttpTimeoutException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.charset.StandardCharsets
import java.time.Duration
import java.util.concurrent.Callable
import java.util.zip.CRC32
import java.util.zip.DataFormatException
import java.util.zip.Inflater

@CompileStatic
class LungXAI {

    static final int PROTOCOL = 1
    static final String NOTICE = 'Research use only, not a diagnosis.'
    static final String RUN_KEY = 'LungXAI run'
    static final String CASE_KEY = 'LungXAI case'
    static final List<String> CLASSES = ['adenocarcinoma', 'squamous_cell', 'large_cell', 'small_cell', 'normal']
    // As in shared_models/contract/colours.py; a test compares them.
    static final Map<String, String> LABELS = [
        adenocarcinoma: 'Adenocarcinoma', squamous_cell: 'Squamous cell carcinoma', large_cell: 'Large cell carcinoma',
        small_cell: 'Small cell carcinoma', normal: 'Normal']
    static final Map<String, List<Integer>> COLOURS = [
        adenocarcinoma: [213, 94, 0], squamous_cell: [0, 114, 178], large_cell: [204, 121, 167],
        small_cell: [240, 228, 66], normal: [0, 158, 115]]
    static final List<List<Integer>> RAMP = [
        [68, 1, 84], [71, 19, 101], [72, 36, 117], [70, 52, 128], [65, 68, 135], [59, 82, 139], [53, 95, 141],
        [47, 108, 142], [42, 120, 142], [37, 132, 142], [33, 145, 140], [30, 156, 137], [34, 168, 132], [47, 180, 124],
        [68, 191, 112], [94, 201, 98], [122, 209, 81], [155, 217, 60], [189, 223, 38], [223, 227, 24], [253, 231, 37]]
    static final List<List<Integer>> AGAINST = [
        [63, 0, 125], [106, 81, 163], [158, 154, 200], [203, 201, 226], [242, 240, 247]]

    /** An error that is shown: what happened, and what to do. */
    static class Problem extends RuntimeException {
        final String code
        final String remedy

        Problem(String code, String message, String remedy) {
            super(message)
            this.code = code
            this.remedy = remedy
        }

        String words() {
            return remedy ? message + '\n' + remedy : message
        }
    }

    /** The words for any failure; one that is none of ours keeps its class, so that it can be reported. */
    static String words(Throwable fault) {
        return fault instanceof Problem ? ((Problem) fault).words() : 'Unexpected: ' + fault
    }

    /** The colour of a fraction, 0 to 1, of a heatmap's scale; another ramp for what speaks against its target. */
    static List<Integer> heatColour(double fraction, boolean against = false) {
        List<List<Integer>> ramp = against ? AGAINST : RAMP
        double inside = Double.isNaN(fraction) ? 0d : Math.min(Math.max(fraction, 0d), 1d)
        double place = inside * (ramp.size() - 1)
        int lower = Math.min((int) place, ramp.size() - 2)
        double share = place - lower
        List<Integer> colour = []
        for (int c = 0; c < 3; c++)
            colour << (int) Math.rint(ramp[lower][c] + (ramp[lower + 1][c] - ramp[lower][c]) * share)
        return colour
    }

    /** Shannon entropy, bits, of the classes that were assessed (not null). */
    static double entropy(List row) {
        double bits = 0d
        for (Object value : row)
            if (value != null && ((Number) value).doubleValue() > 0d)
                bits -= ((Number) value).doubleValue() * Math.log(((Number) value).doubleValue()) / Math.log(2d)
        return bits
    }

    /** Probabilities in words, for a dialog; a class that was not assessed is said to be so. */
    static String inWords(Map probabilities) {
        List<String> lines = []
        for (String name : CLASSES) {
            Object value = probabilities.get(name)
            String share = value == null ? 'not assessed' :
                String.format(Locale.ROOT, '%.1f %%', 100d * ((Number) value).doubleValue())
            lines << LABELS[name] + ': ' + share
        }
        return lines.join('\n')
    }

    // Settings

    /**
     * The server that LungXAI.properties beside this file names: server, token_file, consent_to_remote. LUNGXAI_SERVER
     * and LUNGXAI_TOKEN_FILE of the environment go first; without any, the server that "lungxai serve" starts.
     */
    static Connection connect(File folder) {
        Properties given = new Properties()
        File file = new File(folder, 'LungXAI.properties')
        if (file.isFile())
            file.withInputStream { InputStream stream -> given.load(stream) }
        String url = System.getenv('LUNGXAI_SERVER') ?: given.getProperty('server', 'http://127.0.0.1:8765')
        String share = System.getenv('XDG_DATA_HOME') ?: System.getProperty('user.home') + '/.local/share'
        String token = System.getenv('LUNGXAI_TOKEN_FILE') ?: given.getProperty('token_file', share + '/lungxai/token')
        return new Connection(url, tokenIn(new File(token)), 'true' == given.getProperty('consent_to_remote', ''))
    }

    /** The token in a file. */
    static String tokenIn(File file) {
        if (!file.isFile() || file.length() > 4096)
            throw new Problem('InvalidInput', 'The file with the server\'s token cannot be read: ' + file,
                'It is the file "token" in the data folder of "lungxai serve"; name it as token_file=... ' +
                'in LungXAI.properties.')
        String token = file.getText('UTF-8').trim()
        if (!(token ==~ /[\x21-\x7e]+/))
            throw new Problem('InvalidInput', 'The file holds no token: ' + file,
                'Copy it again from the server\'s data folder.')
        return token
    }

    /** Values to and from bytes. */
    static class Frames {
        static final int PREFIX = 24
        static final int SLIDE_TILES = 2
        static final int HEATMAP = 4

        /**
         * A SlideTiles frame.
         *
         * pixels: n * height * width * 3 bytes, RGB; origins: n pairs (x, y), level-0 pixels; mpp: of the pixels.
         */
        static byte[] tiles(byte[] pixels, List<long[]> origins, int height, int width, double mpp, String slideId) {
            if (origins.isEmpty() || pixels.length != (long) origins.size() * height * width * 3)
                throw new Problem('InvalidInput', 'Each tile needs one (x, y) origin.', 'Report this.')
            if (!(mpp > 0d) || Double.isInfinite(mpp))
                throw new Problem('SpacingUnknown', 'The slide\'s pixel size is unknown.',
                    'Set it in QuPath\'s Image tab.')
            // Spaced as Python's json.dumps spaces it, so that equal tiles are equal bytes.
            StringBuilder header = new StringBuilder()
            header << '{"shape": [' << origins.size() << ', ' << height << ', ' << width << ', 3], "origin_px": ['
            for (int n = 0; n < origins.size(); n++)
                header << (n ? ', [' : '[') << origins[n][0] << ', ' << origins[n][1] << ']'
            header << '], "mpp": ' << mpp << ', "slide_id": ' << quoted(slideId) << '}'
            byte[] head = header.toString().getBytes(StandardCharsets.US_ASCII)
            CRC32 crc = new CRC32()
            crc.update(head, 0, head.length)
            crc.update(pixels, 0, pixels.length)
            ByteBuffer frame = ByteBuffer.allocate(PREFIX + head.length + pixels.length).order(ByteOrder.LITTLE_ENDIAN)
            frame.put('LXAI'.getBytes(StandardCharsets.US_ASCII))
            frame.putShort((short) PROTOCOL).putShort((short) SLIDE_TILES)
            frame.putInt(head.length).putLong(pixels.length as long).putInt((int) crc.getValue()).put(head).put(pixels)
            return frame.array()
        }

        /** Text as Python's json.dumps writes it: ASCII only. */
        static String quoted(String text) {
            StringBuilder out = new StringBuilder('"')
            for (int i = 0; i < text.length(); i++) {
                int c = (int) text.charAt(i)
                int named = '"\\\n\r\t\f\b'.indexOf(c)
                if (named >= 0)
                    out << '\\' << '"\\nrtfb'.charAt(named)
                else if (c < 0x20 || c > 0x7e)
                    out << String.format(Locale.ROOT, '\\u%04x', c)
                else
                    out << (char) c
            }
            return out.append('"').toString()
        }

        /**
         * A Heatmap frame as a map: its header's fields, and "values", float[] row by row.
         *
         * maxBytes: of the values unpacked; checked before anything is unpacked.
         */
        static Map<String, Object> heatmap(byte[] frame, long maxBytes) {
            Problem damaged = new Problem('InvalidInput', 'The data arrived damaged or cut short.', 'Ask for it again.')
            if (frame.length < PREFIX || new String(frame, 0, 4, StandardCharsets.US_ASCII) != 'LXAI')
                throw new Problem('ContractMismatch', 'This is not LungXAI data.', 'Check the server\'s address.')
            ByteBuffer prefix = ByteBuffer.wrap(frame).order(ByteOrder.LITTLE_ENDIAN)
            if (prefix.getShort(4) != PROTOCOL)
                throw new Problem('ContractMismatch', 'The data speaks protocol ' + prefix.getShort(4) +
                    ', this script ' + PROTOCOL + '.', 'Update the older side.')
            long headSize = prefix.getInt(8) & 0xffffffffL
            long size = prefix.getLong(12)
            if (size < 0 || size > frame.length || PREFIX + headSize + size != frame.length)
                throw damaged
            CRC32 crc = new CRC32()
            crc.update(frame, PREFIX, frame.length - PREFIX)
            if ((int) crc.getValue() != prefix.getInt(20))
                throw damaged
            if (prefix.getShort(6) != HEATMAP)
                throw new Problem('ContractMismatch', 'The server sent another kind of data.', 'Update the older side.')
            Map<String, Object> fields = json(new String(frame, PREFIX, (int) headSize, StandardCharsets.UTF_8))
            List shape = fields.get('shape') as List
            if (shape == null || shape.size() != 2 || fields.get('compression', 'zlib') != 'zlib')
                throw new Problem('InvalidInput', 'The data is no heatmap of a slide.', 'Explain the slide again.')
            long rows = ((Number) shape[0]).longValue()
            long columns = ((Number) shape[1]).longValue()
            if (rows < 1 || columns < 1 || rows > maxBytes || columns > maxBytes || rows * columns * 4 > maxBytes)
                throw new Problem('InputTooLarge', 'The heatmap is too large for QuPath.',
                    'Explain a region of the slide.')
            byte[] planes = inflated(frame, (int) (PREFIX + headSize), (int) size, (int) (rows * columns * 4))
            float[] values = new float[(int) (rows * columns)]
            int n = values.length
            for (int i = 0; i < n; i++) {
                int bits = (planes[i] & 0xff) | ((planes[n + i] & 0xff) << 8) | ((planes[2 * n + i] & 0xff) << 16) |
                    ((planes[3 * n + i] & 0xff) << 24)
                values[i] = Float.intBitsToFloat(bits)
            }
            fields.put('values', values)
            return fields
        }

        private static byte[] inflated(byte[] data, int start, int length, int size) {
            Problem lies = new Problem('InvalidInput', 'The data\'s header and content do not agree.',
                'Ask for it again.')
            byte[] out = new byte[size]
            Inflater inflater = new Inflater()
            try {
                inflater.setInput(data, start, length)
                int filled = 0
                while (filled < size) {
                    int got = inflater.inflate(out, filled, size - filled)
                    if (got == 0)
                        throw lies
                    filled += got
                }
                byte[] more = new byte[1]
                if (inflater.inflate(more) != 0 || !inflater.finished() || inflater.getRemaining() != 0)
                    throw lies
            } catch (DataFormatException fault) {
                throw (Problem) lies.initCause(fault)
            } finally {
                inflater.end()
            }
            return out
        }
    }

    /** JSON text as a map; numbers are doubles. */
    static Map<String, Object> json(String text) {
        try {
            Object read = new Gson().fromJson(text, Object)
            if (read instanceof Map)
                return (Map<String, Object>) read
        } catch (JsonParseException fault) {
            throw (Problem) new Problem('ContractMismatch', 'The server\'s answer cannot be read.',
                'Check its address and version.').initCause(fault)
        }
        throw new Problem('ContractMismatch', 'The server\'s answer cannot be read.', 'Check its address and version.')
    }

    /** One server. Every method throws Problem: what the server said, or why it was not reached. */
    static class Connection {
        static final long MAX_ANSWER = 256L << 20
        private final String url
        private final String token
        private final HttpClient client

        Connection(String url, String token, boolean consentToRemote) {
            URI address
            try {
                address = new URI(url)
            } catch (URISyntaxException fault) {
                throw (Problem) new Problem('InvalidInput', 'The server\'s address is not valid: ' + url,
                    'Give it as http://127.0.0.1:8765.').initCause(fault)
            }
            if (!(address.scheme in ['http', 'https']) || !address.host)
                throw new Problem('InvalidInput', 'The server\'s address is not valid: ' + url,
                    'Give it as http://127.0.0.1:8765.')
            // Names are not resolved, since an answer can change.
            boolean own = address.host == 'localhost' || address.host == '[::1]' || address.host ==~ /127(\.\d{1,3}){3}/
            if (!own && !consentToRemote)
                throw new Problem('InvalidInput', 'This server is on another machine.',
                    'To agree that slides are sent there, write consent_to_remote=true into LungXAI.properties.')
            this.url = url.replaceAll('/+$', '')
            this.token = token
            client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(10))
                .followRedirects(HttpClient.Redirect.NEVER).proxy(HttpClient.Builder.NO_PROXY).build()
        }

        Map<String, Object> info() { return call('GET', '/v1/info', null) }

        /** The model for slides, as /v1/info describes it; tile_px and spacing_um_px are numbers. */
        Map<String, Object> slideModel() {
            Map<String, Object> info = info()
            for (Object model : (List) info.get('models')) {
                Map<String, Object> fields = (Map<String, Object>) model
                if (fields.get('modality') == 'pathology' && fields.get('tile_px') != null &&
                    fields.get('spacing_um_px') != null)
                    return fields
            }
            throw new Problem('ModelUnavailable', 'The server has no model for slides.',
                'Run "lungxai doctor" where it runs.')
        }

        /** The case's id; an existing case of this id is used as it is. An empty id takes a new one. */
        String openCase(String id) {
            if (id) {
                Problem missing = null
                try {
                    call('GET', casePath(id, ''), null)
                } catch (Problem fault) {
                    missing = fault
                }
                if (missing == null)
                    return id
                if (missing.code != 'RequestError') // what the server says of a case that is not there
                    throw missing
            }
            return (String) call('POST', '/v1/cases', id ? [case_id: id] : [:]).get('case_id')
        }

        /** Sends one frame of tiles; how many of the slide the server holds. */
        int sendTiles(String caseId, byte[] frame) {
            byte[] answer = send('POST', casePath(caseId, '/tiles'), frame, 'application/x-lungxai-frame')
            return ((Number) json(text(answer)).get('tiles')).intValue()
        }

        /** Starts the work on a slide; the job's id. */
        String classify(String caseId, String slideId, List<String> explain, double tileWidth, double tileHeight) {
            Map body = [slide_id: slideId, explain: explain, tile_px: [tileWidth, tileHeight]]
            return (String) call('POST', casePath(caseId, '/pathology'), body).get('job_id')
        }

        /**
         * Follows a job to its end.
         *
         * progress: called with (fraction, stage); cancelled: when it gives true, the server's job is stopped.
         */
        void follow(String jobId, Closure progress, Callable<Boolean> cancelled) {
            try {
                while (true) {
                    Map<String, Object> job = call('GET', '/v1/jobs/' + jobId, null)
                    progress.call(job.get('fraction'), job.get('stage'))
                    if (job.get('state') == 'done')
                        return
                    if (job.get('state') == 'failed')
                        throw problem((Map) job.get('error'))
                    if (job.get('state') == 'cancelled')
                        throw new Problem('Cancelled', 'The job was cancelled.',
                            'Start it again if that was not meant.')
                    if (cancelled.call()) {
                        call('DELETE', '/v1/jobs/' + jobId, null)
                        throw new Problem('Cancelled', 'Cancelled. Nothing was added to the slide.', '')
                    }
                    Thread.sleep(200)
                }
            } catch (InterruptedException fault) {
                // Stopped from the script editor: the interrupt is taken back for one last request, then given on.
                call('DELETE', '/v1/jobs/' + jobId, null)
                Thread.currentThread().interrupt()
                throw (Problem) new Problem('Cancelled', 'Cancelled. Nothing was added to the slide.',
                    '').initCause(fault)
            }
        }

        Map<String, Object> slideResult(String caseId) { return call('GET', casePath(caseId, '/pathology'), null) }

        Map<String, Object> heatmap(String caseId, String method) {
            return Frames.heatmap(send('GET', casePath(caseId, '/pathology/heatmaps/' + checked(method)), null, null),
                1L << 28)
        }

        Map<String, Object> fuse(String caseId) { return call('POST', casePath(caseId, '/fusion'), [:]) }

        /** The report: one HTML page that needs nothing else. */
        byte[] report(String caseId) { return send('GET', casePath(caseId, '/report'), null, null) }

        private static String casePath(String id, String part) { return '/v1/cases/' + checked(id) + part }

        private static String checked(String id) {
            if (!(id ==~ /[A-Za-z0-9][A-Za-z0-9_-]{0,63}/))
                throw new Problem('InvalidInput', 'A case\'s name holds letters, digits, - and _ only.',
                    'Choose another.')
            return id
        }

        private Map<String, Object> call(String method, String path, Map body) {
            String said = body == null ? '' : new GsonBuilder().serializeNulls().create().toJson(body)
            byte[] data = body == null ? null : said.getBytes(StandardCharsets.UTF_8)
            return json(text(send(method, path, data, 'application/json')))
        }

        private byte[] send(String method, String path, byte[] body, String type) {
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url + path))
                .timeout(Duration.ofSeconds(120)).header('Authorization', 'Bearer ' + token)
                .header('X-LungXAI-Protocol', String.valueOf(PROTOCOL))
            if (body == null) {
                request.method(method, HttpRequest.BodyPublishers.noBody())
            } else {
                request.header('Content-Type', type).method(method, HttpRequest.BodyPublishers.ofByteArray(body))
            }
            try {
                HttpResponse<InputStream> answer = client.send(request.build(),
                    HttpResponse.BodyHandlers.ofInputStream())
                byte[] content = capped(answer.body())
                if (answer.headers().firstValue('X-LungXAI-Protocol').orElse('') != String.valueOf(PROTOCOL))
                    throw new Problem('ContractMismatch', 'This is not a LungXAI server, or one of another version.',
                        'Check its address, or update the older side.')
                if (answer.statusCode() >= 300)
                    throw problem(json(text(content)))
                return content
            } catch (HttpConnectTimeoutException fault) {
                throw unreachable(fault)
            } catch (HttpTimeoutException fault) {
                throw (Problem) new Problem('ServerTimeout', 'The server does not answer.',
                    'Wait, or restart it.').initCause(fault)
            } catch (IOException fault) {
                throw unreachable(fault)
            } catch (InterruptedException fault) {
                Thread.currentThread().interrupt()
                throw (Problem) new Problem('Cancelled', 'Cancelled. Nothing was added to the slide.',
                    '').initCause(fault)
            }
        }

        private Problem unreachable(Throwable fault) {
            return (Problem) new Problem('ServerUnreachable', 'The server at ' + url + ' cannot be reached.',
                'Start it with "lungxai serve", or correct server=... in LungXAI.properties.').initCause(fault)
        }

        private static byte[] capped(InputStream stream) {
            ByteArrayOutputStream whole = new ByteArrayOutputStream()
            byte[] piece = new byte[1 << 16]
            try {
                int got = stream.read(piece)
                while (got >= 0) {
                    whole.write(piece, 0, got)
                    if (whole.size() > MAX_ANSWER)
                        throw new Problem('InputTooLarge', 'The server\'s answer is too large.',
                            'Choose a smaller region.')
                    got = stream.read(piece)
                }
            } finally {
                stream.close()
            }
            return whole.toByteArray()
        }

        private static String text(byte[] content) { return new String(content, StandardCharsets.UTF_8) }

        private static Problem problem(Map body) {
            if (body == null || !(body.get('message') instanceof String))
                return new Problem('ServerError', 'The server reported an error.', 'Look into its log.')
            return new Problem(String.valueOf(body.get('code')), (String) body.get('message'),
                String.valueOf(body.get('remedy') ?: ''))
        }
    }

    /**
     * Where a thumbnail has tissue: more coloured than the glass, neither black nor ink. As in
     * shared_models/slide_tissue.py; a test compares them.
     */
    static class Tissue {
        final boolean[] mask
        final int rows
        final int columns
        final double slideWidth
        final double slideHeight

        /** rgb: packed 0xRRGGBB, row by row; slideWidth, slideHeight: level-0 pixels that it covers. */
        Tissue(int[] rgb, int columns, int rows, double slideWidth, double slideHeight) {
            this.columns = columns
            this.rows = rows
            this.slideWidth = slideWidth
            this.slideHeight = slideHeight
            mask = found(rgb, columns, rows)
        }

        /** Share of tissue in a rectangle of level-0 pixels. */
        double share(double x, double y, double width, double height) {
            double sx = columns / slideWidth
            double sy = rows / slideHeight
            int x0 = within(Math.rint(x * sx), columns)
            int y0 = within(Math.rint(y * sy), rows)
            int x1 = within(Math.max(Math.rint((x + width) * sx), Math.rint(x * sx) + 1), columns)
            int y1 = within(Math.max(Math.rint((y + height) * sy), Math.rint(y * sy) + 1), rows)
            int count = 0
            for (int row = y0; row < y1; row++)
                for (int column = x0; column < x1; column++)
                    if (mask[row * columns + column])
                        count++
            double area = Math.max(Math.rint((x + width) * sx) - Math.rint(x * sx), 1d) *
                Math.max(Math.rint((y + height) * sy) - Math.rint(y * sy), 1d)
            return count / Math.max(area, 1d)
        }

        private static int within(double value, int limit) {
            return (int) Math.min(Math.max(value, 0d), (double) limit)
        }

        private static boolean[] found(int[] rgb, int w, int h) {
            int n = w * h
            float[][] colour = new float[3][]
            for (int c = 0; c < 3; c++)
                colour[c] = smoothed(rgb, w, h, 16 - 8 * c)
            float[] saturation = new float[n]
            boolean[] ink = new boolean[n]
            boolean[] dark = new boolean[n]
            for (int i = 0; i < n; i++) {
                float r = colour[0][i], g = colour[1][i], b = colour[2][i]
                float high = Math.max(r, Math.max(g, b))
                float s = (float) ((high - Math.min(r, Math.min(g, b))) / Math.max(high, 1f))
                saturation[i] = s
                dark[i] = high < 100 && s < 0.35f
                ink[i] = (g > r * 1.1f && g > 0.9f * b && s > 0.15f) || (g > r * 1.15f && b > r * 1.4f && s > 0.3f)
            }
            double threshold = Math.min(Math.max(otsu(saturation), 0.06d), 0.15d)
            ink = grown(grown(ink, w, h), w, h)
            boolean[] tissue = new boolean[n]
            for (int i = 0; i < n; i++)
                tissue[i] = saturation[i] > threshold && !ink[i] && !dark[i]
            return grown(shrunk(tissue, w, h), w, h)
        }

        private static float[] smoothed(int[] rgb, int w, int h, int shift) {
            float[] out = new float[w * h]
            for (int y = 0; y < h; y++)
                for (int x = 0; x < w; x++) {
                    int sum = 0
                    for (int dy = -1; dy <= 1; dy++)
                        for (int dx = -1; dx <= 1; dx++)
                            sum += (rgb[Math.min(Math.max(y + dy, 0), h - 1) * w +
                                Math.min(Math.max(x + dx, 0), w - 1)] >> shift) & 0xff
                    out[y * w + x] = (float) (sum / 9f)
                }
            return out
        }

        /** The threshold that parts values best into two groups. Source: Otsu 1979. */
        private static double otsu(float[] values) {
            double[] counts = new double[256]
            for (float value : values)
                counts[Math.min((int) (value * 256), 255)]++
            double total = values.length, mass = 0d, below = 0d, part = 0d, best = -1d, threshold = 0d
            for (int k = 0; k < 256; k++)
                mass += counts[k] * (k + 0.5d) / 256
            for (int k = 0; k < 256; k++) {
                below += counts[k]
                part += counts[k] * (k + 0.5d) / 256
                double above = total - below
                if (below == 0d || above == 0d)
                    continue
                double apart = part / below - (mass - part) / above
                double between = below * above * apart * apart
                if (between > best) {
                    best = between
                    threshold = (k + 1) / 256d
                }
            }
            return threshold
        }

        private static boolean[] grown(boolean[] mask, int w, int h) { return morphed(mask, w, h, true) }

        private static boolean[] shrunk(boolean[] mask, int w, int h) { return morphed(mask, w, h, false) }

        /** Of each pixel and its four neighbours: any (grow) or all (shrink); outside lies nothing. */
        private static boolean[] morphed(boolean[] mask, int w, int h, boolean any) {
            boolean[] out = new boolean[mask.length]
            for (int y = 0; y < h; y++)
                for (int x = 0; x < w; x++) {
                    int i = y * w + x
                    boolean up = y > 0 && mask[i - w], down = y < h - 1 && mask[i + w]
                    boolean left = x > 0 && mask[i - 1], right = x < w - 1 && mask[i + 1]
                    out[i] = any ? mask[i] || up || down || left || right : mask[i] && up && down && left && right
                }
            return out
        }

        /**
         * Upper left corners of the tiles that hold tissue and have their centre inside. As in
         * shared_models/slide_tiles.py, the last tile of a row may hang over the slide's edge by three quarters.
         */
        List<long[]> tiles(double tileWidth, double tileHeight, double leastShare, Closure inside) {
            List<long[]> kept = []
            int down = count(slideHeight, tileHeight), across = count(slideWidth, tileWidth)
            for (int row = 0; row < down; row++)
                for (int column = 0; column < across; column++) {
                    double x = column * tileWidth, y = row * tileHeight
                    if (inside.call(x + tileWidth / 2, y + tileHeight / 2) &&
                        share(x, y, tileWidth, tileHeight) >= leastShare)
                        kept << ([Math.rint(x) as long, Math.rint(y) as long] as long[])
                }
            return kept
        }

        private static int count(double side, double tile) {
            return Math.max(1, (int) Math.ceil(side / tile - 0.25d))
        }
    }

    /** A heatmap in steps of its scale. */
    static class Steps {

        /**
         * Runs of step k, 2 to levels, along the rows: [row, first column, column after the last].
         *
         * Step k of n covers values over (k - 1) / n to k / n of the greatest; a map without positive values has none.
         */
        static List<int[]> runs(float[] values, int columns, int k, int levels, float top) {
            List<int[]> found = []
            if (!(top > 0f))
                return found
            for (int row = 0; row * columns < values.length; row++) {
                int first = -1
                for (int column = 0; column <= columns; column++) {
                    boolean inside = column < columns &&
                        Math.min(Math.max((int) Math.ceil(values[row * columns + column] / top * levels), 0),
                            levels) == k
                    if (inside && first < 0)
                        first = column
                    if (!inside && first >= 0) {
                        found << ([row, first, column] as int[])
                        first = -1
                    }
                }
            }
            return found
        }

        /** The largest absolute value. */
        static float top(float[] values) {
            float top = 0f
            for (float value : values)
                top = Math.max(top, Math.abs(value))
            return top
        }

        static float[] negated(float[] values) {
            float[] answer = new float[values.length]
            for (int i = 0; i < values.length; i++)
                answer[i] = -values[i]
            return answer
        }

        /**
         * The means of whole blocks of cells, so that at most 7 x 7 make a tile: values, columns, matrix. Finer contours
         * would be thousands of specks; the command does the same.
         */
        static Map coarser(float[] values, int columns, List matrix, int cellsPerTile) {
            int side = cellsPerTile.intdiv(7)
            if (side < 2)
                return [values: values, columns: columns, matrix: matrix]
            int rows = values.length.intdiv(columns)
            int down = (rows + side - 1).intdiv(side), across = (columns + side - 1).intdiv(side)
            double[] sums = new double[down * across]
            for (int row = 0; row < rows; row++)
                for (int column = 0; column < columns; column++)
                    sums[row.intdiv(side) * across + column.intdiv(side)] += (double) values[row * columns + column]
            float[] means = new float[sums.length]
            for (int i = 0; i < sums.length; i++)
                means[i] = (float) (sums[i] / (side * side))
            double[] middle = place(matrix, (side - 1) / 2d, (side - 1) / 2d)
            List scaled = [
                [at(matrix, 0, 0) * side, at(matrix, 0, 1) * side, middle[0]],
                [at(matrix, 1, 0) * side, at(matrix, 1, 1) * side, middle[1]], [0d, 0d, 1d]]
            return [values: means, columns: across, matrix: scaled]
        }

        /** (x, y) on the slide of a place (column, row) on the map, whose matrix is 3 x 3. */
        static double[] place(List matrix, double column, double row) {
            double x = at(matrix, 0, 0) * column + at(matrix, 0, 1) * row + at(matrix, 0, 2)
            double y = at(matrix, 1, 0) * column + at(matrix, 1, 1) * row + at(matrix, 1, 2)
            return [x, y] as double[]
        }

        private static double at(List matrix, int row, int column) {
            return ((Number) ((List) matrix[row])[column]).doubleValue()
        }

        /** Mean of the cells with their centre in a rectangle of the slide; NaN without any. The map is not turned. */
        static double mean(float[] values, int columns, List matrix, double x, double y, double width, double height) {
            int rows = values.length.intdiv(columns)
            double sx = at(matrix, 0, 0), ox = at(matrix, 0, 2), sy = at(matrix, 1, 1), oy = at(matrix, 1, 2)
            int c0 = first(x, ox, sx, columns), c1 = first(x + width, ox, sx, columns)
            int r0 = first(y, oy, sy, rows), r1 = first(y + height, oy, sy, rows)
            double sum = 0d
            int count = 0
            for (int row = r0; row < r1; row++)
                for (int column = c0; column < c1; column++) {
                    sum += values[row * columns + column]
                    count++
                }
            return count ? sum / count : Double.NaN
        }

        /** The first cell, of so many, with its centre at ``place`` or beyond. */
        private static int first(double place, double origin, double step, int cells) {
            return (int) Math.min(Math.max(Math.ceil((place - origin) / step - 1e-6d), 0d), (double) cells)
        }
    }
}
