/*
 * What test_groovy.py asks of qupath_bridge/groovy/LungXAI.groovy: one JSON object on standard input, one on standard
 * output. {"ask": ..., ...}
 */
import com.google.gson.Gson

def asked = new Gson().fromJson(System.in.getText('UTF-8'), Map)
def lungxai = Class.forName('LungXAI')
def of = { String name -> Class.forName('LungXAI$' + name) }
def base64 = Base64.decoder
def answer = [:]
try {
    if (asked.ask == 'tiles') {
        def origins = asked.origins.collect { [it[0] as long, it[1] as long] as long[] }
        def frame = of('Frames').tiles(base64.decode(asked.pixels), origins, asked.side[0] as int, asked.side[1] as int,
            asked.mpp as double, asked.slide_id)
        answer.frame = Base64.encoder.encodeToString(frame)
    } else if (asked.ask == 'heatmap') {
        answer = of('Frames').heatmap(base64.decode(asked.frame), (asked.max_bytes ?: (1 << 28)) as long)
    } else if (asked.ask == 'tissue') {
        def rgb = asked.rgb.collect { it as int } as int[]
        def tissue = of('Tissue').newInstance(rgb, asked.columns as int, asked.rows as int, asked.columns as double,
            asked.rows as double)
        answer.mask = tissue.mask.collect { it ? 1 : 0 }
        answer.tiles = tissue.tiles(asked.tile as double, asked.tile as double, 0.35d, { x, y -> true })
    } else if (asked.ask == 'steps') {
        def values = asked.values.collect { it as float } as float[]
        def top = of('Steps').top(values)
        answer.runs = (2..5).collect { k -> of('Steps').runs(values, asked.columns as int, k, 5, top) }
        answer.mean = of('Steps').mean(values, asked.columns as int, asked.matrix, 0d, 0d, asked.width as double,
            asked.width as double)
        def negated = of('Steps').negated(values)
        answer.against = (2..5).collect { k -> of('Steps').runs(negated, asked.columns as int, k, 5, top) }
    } else if (asked.ask == 'coarser') {
        answer = of('Steps').coarser(asked.values.collect { it as float } as float[], asked.columns as int,
            asked.matrix, asked.cells as int)
        answer.values = answer.values.toList()
    } else if (asked.ask == 'colours') {
        answer = [labels: lungxai.LABELS, colours: lungxai.COLOURS, classes: lungxai.CLASSES,
                  ramp: (0..20).collect { lungxai.heatColour(it / 20d) },
                  against: (0..20).collect { lungxai.heatColour(it / 20d, true) }, words: lungxai.inWords([normal: 0.25d])]
    } else if (asked.ask == 'connect') {
        answer.info = lungxai.connect(new File(asked.folder)).info()
    } else if (asked.ask == 'case') {
        def server = of('Connection').newInstance(asked.url, asked.token, false)
        answer.model = server.slideModel()
        answer.case_id = server.openCase(asked.case_id ?: '')
        for (frame in asked.frames)
            answer.tiles = server.sendTiles(answer.case_id, base64.decode(frame))
        answer.stages = []
        def job = server.classify(answer.case_id, asked.slide_id, asked.explain, asked.tile_px, asked.tile_px)
        def began = System.currentTimeMillis()
        server.follow(job, { fraction, stage -> answer.stages << stage },
            { asked.cancel && System.currentTimeMillis() - began > 100 })
        answer.result = server.slideResult(answer.case_id)
        answer.maps = asked.explain.collect { server.heatmap(answer.case_id, it) }
        answer.fused = server.fuse(answer.case_id)
        answer.report = new String(server.report(answer.case_id), 'UTF-8')
    }
} catch (RuntimeException fault) {
    if (fault.class.simpleName != 'Problem')
        throw fault
    answer.problem = [code: fault.code, message: fault.message, remedy: fault.remedy]
}
println new com.google.gson.GsonBuilder().serializeSpecialFloatingPointValues().create().toJson(answer)
