/*
 * LungXAI: the part of the scripts that talks to QuPath, 0.5 to 0.7. LungXAI.groovy holds the rest and is loaded first.
 *
 * run()            does a script's work; whatever goes wrong is shown in words
 * ask(), choose()  a script's question: its arguments answer first, then a dialog
 * classify()       tiles of a region through the server, and the run's objects
 * explain()        a heatmap as annotations, one per step, and as a measurement of each tile
 * fused()          the fused result of a case into the image's metadata
 * runs(), remove() the runs on the image
 *
 * Objects: one locked annotation per run, named by its metadata "LungXAI run"; below it the regions and the tiles.
 * Slides are read tile by tile at the model's scale, never a large region at once.
 *
 * Research use only, not a diagnosis.
 */

import groovy.transform.CompileStatic
import java.awt.Color
import java.awt.Graphics2D
import java.awt.RenderingHints
import java.awt.image.BufferedImage
import java.security.MessageDigest
import java.util.concurrent.Callable
import java.util.concurrent.CancellationException
import qupath.lib.common.ColorTools
import qupath.lib.images.ImageData
import qupath.lib.images.servers.ImageServer
import qupath.lib.objects.PathObject
import qupath.lib.objects.PathObjects
import qupath.lib.objects.classes.PathClass
import qupath.lib.plugins.CommandLineTaskRunner
import qupath.lib.plugins.SimpleProgressMonitor
import qupath.lib.regions.ImagePlane
import qupath.lib.regions.RegionRequest
import qupath.lib.roi.GeometryTools
import qupath.lib.roi.ROIs
import qupath.lib.roi.interfaces.ROI
import qupath.lib.scripting.QP

class LungXAIQuPath {

    static final int TILES_AT_ONCE = 64
    static final int MAX_TILES = 200000
    static final int THUMBNAIL_PX = 2048
    static final double LEAST_TISSUE = 0.35
    static final int LEVELS = 5
    static final int MAX_CELLS = 2000000
    // Reading at a scale that the slide does not have would invent detail.
    static final double MOST_ENLARGED = 1.5
    static final Map<String, String> METHODS = [
        gradcam: 'Grad-CAM', gradcam_pp: 'Grad-CAM++', integrated_gradients: 'Integrated Gradients',
        occlusion: 'Occlusion', saliency: 'Saliency', smoothgrad: 'SmoothGrad']

    final File folder
    final Map<String, String> given = [:]
    final ImageData imageData
    final ImageServer server
    LungXAI.Connection connection

    LungXAIQuPath(File folder, List<String> args) {
        this.folder = folder
        for (arg in args) {
            int at = arg.indexOf('=')
            if (at < 1)
                throw new LungXAI.Problem('InvalidInput', 'The argument ' + arg + ' is not of the form name=value.',
                    'For example: case=c1')
            given[arg.substring(0, at)] = arg.substring(at + 1)
        }
        imageData = QP.getCurrentImageData()
        if (imageData == null)
            throw new LungXAI.Problem('InvalidInput', 'No image is open.', 'Open the slide first.')
        server = imageData.getServer()
        connection = LungXAI.connect(folder)
    }

    /** Does a script's work; what goes wrong is shown in words. Without QuPath's window it ends the script instead. */
    static void run(String title, File folder, List<String> args, Closure work) {
        try {
            work.call(new LungXAIQuPath(folder, args))
        } catch (CancellationException fault) {
            println title + ': nothing was done.'
        } catch (LungXAI.Problem fault) {
            if (window() == null)
                throw new RuntimeException(title + ': ' + fault.words(), fault)
            println title + ': ' + fault.words()
            if (fault.code != 'Cancelled')
                dialogs().showErrorMessage(title, fault.words())
        }
    }

    /** QuPath's window, null where it runs without one; asked for by name, so that no screen is needed. */
    private static Object window() {
        try {
            return Class.forName('qupath.lib.gui.QuPathGUI', true, LungXAIQuPath.classLoader).getInstance()
        } catch (ClassNotFoundException | NoClassDefFoundError fault) {
            return null
        }
    }

    /** The dialogs' class: its package was another one before 0.5. */
    private static Class dialogs() {
        for (name in ['qupath.fx.dialogs.Dialogs', 'qupath.lib.gui.dialogs.Dialogs'])
            try {
                return Class.forName(name, true, LungXAIQuPath.classLoader)
            } catch (ClassNotFoundException fault) {
                continue
            }
        throw new LungXAI.Problem('ServerError', 'This QuPath has no dialogs that are known.',
            'Use QuPath 0.5, 0.6 or 0.7.')
    }

    /** The text for a question: from the script's arguments, else from a dialog, else the given default. */
    String ask(String name, String question, String usual) {
        if (given.containsKey(name) || window() == null)
            return given.containsKey(name) ? given[name] : usual
        String answer = dialogs().showInputDialog('LungXAI', question, usual)
        if (answer == null)
            throw new CancellationException()
        return answer.trim()
    }

    /** One of several; as ask(). */
    String choose(String name, String question, List<String> choices, String usual) {
        String answer = given.containsKey(name) || window() == null ? (given.containsKey(name) ? given[name] : usual) :
            dialogs().showChoiceDialog('LungXAI', question, choices, usual)
        if (answer == null)
            throw new CancellationException()
        if (!choices.contains(answer))
            throw new LungXAI.Problem('InvalidInput', name + '=' + answer + ' is none of the choices.',
                'Choose one of: ' + choices.join(', '))
        return answer
    }

    void show(String title, String message) {
        println title + '\n' + message
        if (window() != null)
            dialogs().showMessageDialog(title, message)
    }

    // Classify

    /** Classifies a region; the annotation of the run. region: "selected" or "tissue"; caseId: empty for a new case. */
    PathObject classify(String region, String caseId) {
        ROI within = null
        if (region == 'selected') {
            PathObject selected = QP.getSelectedObject()
            if (selected == null || !selected.isAnnotation() || selected.getROI() == null ||
                !selected.getROI().isArea())
                throw new LungXAI.Problem('InvalidInput', 'No area is selected.',
                    'Draw an annotation around it, select it, and run the script again.')
            within = selected.getROI()
        }
        def calibration = server.getPixelCalibration()
        if (!calibration.hasPixelSizeMicrons())
            throw new LungXAI.Problem('SpacingUnknown', 'The slide\'s pixel size is unknown.',
                'Set it in the Image tab: double-click on the pixel width.')
        if (!server.isRGB())
            throw new LungXAI.Problem('InvalidInput', 'The image is not an RGB slide.', 'Open the H&E slide.')
        def model = connection.slideModel()
        int side = model.tile_px as int
        double mpp = model.spacing_um_px as double
        double finest = calibration.getAveragedPixelSizeMicrons()
        if (finest > mpp * MOST_ENLARGED)
            throw new LungXAI.Problem('InvalidInput', 'The model needs ' + mpp + ' um per pixel or finer; the slide has ' +
                finest.round(2) + '.', 'Use the scan at full resolution.')
        double width = side * mpp / calibration.getPixelWidthMicrons()
        double height = side * mpp / calibration.getPixelHeightMicrons()

        def progress = new Progress('LungXAI: classify', window())
        try {
            progress.at(0d, 'Finding tissue')
            List<long[]> origins = tissue().tiles(width, height, LEAST_TISSUE,
                { x, y -> within == null || within.contains(x as double, y as double) })
            if (origins.isEmpty())
                throw new LungXAI.Problem('InvalidInput', 'No tissue was found in the region.',
                    'Choose a larger region, or one with more tissue.')
            if (origins.size() > MAX_TILES)
                throw new LungXAI.Problem('InputTooLarge', 'The region has ' + origins.size() + ' tiles.',
                    'Choose a smaller region.')
            String run = runName(model, region, origins)
            String slideId = slideName() + ' ' + run
            String id = connection.openCase(caseId)
            for (int start = 0; start < origins.size(); start += TILES_AT_ONCE) {
                progress.stop()
                def part = origins.subList(start, Math.min(start + TILES_AT_ONCE, origins.size()))
                byte[] pixels = read(server, part, width, height, side, mpp / finest)
                connection.sendTiles(id, LungXAI.Frames.tiles(pixels, part, side, side, mpp, slideId))
                progress.at(0.6d * (start + part.size()) / origins.size(), 'Sent ' + (start + part.size()) + ' of ' +
                    origins.size() + ' tiles')
            }
            String job = connection.classify(id, slideId, [], width, height)
            connection.follow(job,
                { fraction, stage -> progress.at(0.6d + 0.4d * (fraction as double), stage as String) },
                { progress.cancelled() } as Callable<Boolean>)
            def result = connection.slideResult(id)
            if (result.abstention != null)
                throw new LungXAI.Problem('InvalidInput', 'No answer: ' + result.abstention.reason,
                    result.abstention.what_would_help)
            PathObject top = objects(result, run, id, within)
            remove(run)
            QP.getCurrentHierarchy().getRootObject().addChildObject(top)
            QP.getCurrentHierarchy().fireHierarchyChangedEvent(this)
            note(['LungXAI case': id, 'LungXAI run': run, 'LungXAI notice': LungXAI.NOTICE] +
                ofSlide(result.probabilities, 'LungXAI P'))
            return top
        } finally {
            progress.end()
        }
    }

    private LungXAI.Tissue tissue() {
        double downsample = Math.max(1d, Math.max(server.getWidth(), server.getHeight()) / (double) THUMBNAIL_PX)
        BufferedImage small = server.readRegion(RegionRequest.createInstance(server.getPath(), downsample, 0, 0,
            server.getWidth(), server.getHeight()))
        int[] rgb = small.getRGB(0, 0, small.getWidth(), small.getHeight(), null, 0, small.getWidth())
        return new LungXAI.Tissue(rgb, small.getWidth(), small.getHeight(), server.getWidth(), server.getHeight())
    }

    /** Pixels of tiles, one request each, at the model's scale: n * side * side * 3 bytes; white beyond the slide. */
    @CompileStatic
    private static byte[] read(ImageServer server, List<long[]> origins, double width, double height, int side,
        double downsample) {
        byte[] pixels = new byte[origins.size() * side * side * 3]
        int at = 0
        for (long[] origin : origins) {
            int w = (int) Math.min(Math.rint(width), (double) (server.getWidth() - origin[0]))
            int h = (int) Math.min(Math.rint(height), (double) (server.getHeight() - origin[1]))
            RegionRequest request = RegionRequest.createInstance(server.getPath(), Math.max(downsample, 1d),
                (int) origin[0], (int) origin[1], w, h)
            BufferedImage image = (BufferedImage) server.readRegion(request)
            // A tile that hangs over the slide's edge keeps its scale.
            int wide = (int) Math.max(1d, Math.rint(side * w / Math.rint(width)))
            int high = (int) Math.max(1d, Math.rint(side * h / Math.rint(height)))
            if (image.getWidth() != side || image.getHeight() != side || wide != side || high != side) {
                BufferedImage exact = new BufferedImage(side, side, BufferedImage.TYPE_INT_RGB)
                Graphics2D graphics = exact.createGraphics()
                graphics.setColor(Color.WHITE)
                graphics.fillRect(0, 0, side, side)
                graphics.setRenderingHint(RenderingHints.KEY_INTERPOLATION, RenderingHints.VALUE_INTERPOLATION_BILINEAR)
                graphics.drawImage(image, 0, 0, wide, high, null)
                graphics.dispose()
                image = exact
            }
            int[] rgb = image.getRGB(0, 0, side, side, null, 0, side)
            for (int packed : rgb) {
                pixels[at++] = (byte) (packed >> 16)
                pixels[at++] = (byte) (packed >> 8)
                pixels[at++] = (byte) packed
            }
        }
        return pixels
    }

    /** The same slide, model and tiles give the same name, so that a second run replaces the first. */
    private String runName(Map model, String region, List<long[]> origins) {
        MessageDigest digest = MessageDigest.getInstance('SHA-256')
        digest.update([slideName(), region, model.model_id, model.weights_sha256].join('\n').getBytes('UTF-8'))
        for (origin in origins)
            digest.update((origin[0] + ',' + origin[1] + ';').getBytes('US-ASCII'))
        return digest.digest().encodeHex().toString().substring(0, 12)
    }

    private String slideName() {
        def entry = QP.getProjectEntry()
        String full = entry == null ? server.getMetadata().getName() : entry.getImageName()
        String name = full.replaceAll(/[^\x20-\x7e]/, '_').trim()
        return name.length() > 100 ? name.substring(0, 100) : name
    }

    private PathObject objects(Map result, String run, String caseId, ROI within) {
        double width = result.tile_px[0], height = result.tile_px[1]
        Map<String, List<PathObject>> byClass = [:]
        List<PathObject> tiles = []
        for (int n = 0; n < result.origin_px.size(); n++) {
            List row = result.tile_probabilities[n]
            int best = bestOf(row)
            if (best < 0)
                continue
            ROI box = ROIs.createRectangleROI(result.origin_px[n][0] as double, result.origin_px[n][1] as double,
                width, height, ImagePlane.getDefaultPlane())
            PathObject tile = PathObjects.createTileObject(box,
                pathClass(LungXAI.LABELS[LungXAI.CLASSES[best]], LungXAI.COLOURS[LungXAI.CLASSES[best]]))
            for (int c = 0; c < row.size(); c++)
                if (row[c] != null)
                    tile.getMeasurementList().put('P(' + LungXAI.LABELS[LungXAI.CLASSES[c]] + ')', row[c] as double)
            tile.getMeasurementList().put('Entropy (bits)', LungXAI.entropy(row))
            if (row[4] != null && row.count { it != null } > 1)
                tile.getMeasurementList().put('Malignancy score', 1d - (row[4] as double))
            if (result.tile_quality != null)
                tile.getMeasurementList().put('Quality', result.tile_quality[n] as double)
            byClass.get(LungXAI.CLASSES[best], []) << tile
            tiles << tile
        }
        if (tiles.isEmpty())
            throw new LungXAI.Problem('ModelUnavailable', 'The model assessed no class.',
                'Run "lungxai doctor" where the server runs.')
        Map<String, String> said = madeBy(result.provenance, run, caseId) + ['LungXAI slide': result.slide_id]
        def calibration = server.getPixelCalibration()
        double area = calibration.getPixelWidthMicrons() * calibration.getPixelHeightMicrons() / 1e6
        List<PathObject> regions = []
        byClass.each { name, its ->
            def whole = GeometryTools.union(its.collect { it.getROI().getGeometry() })
            for (int k = 0; k < whole.getNumGeometries(); k++) {
                PathClass kind = pathClass(LungXAI.LABELS[name], LungXAI.COLOURS[name])
                String title = LungXAI.LABELS[name] + ' (research use only)'
                PathObject part = annotation(whole.getGeometryN(k), kind, title, said)
                part.getMeasurementList().put('LungXAI area mm^2', part.getROI().getArea() * area)
                if (result.probabilities[name] != null)
                    part.getMeasurementList().put('LungXAI P(slide)', result.probabilities[name] as double)
                regions << part
            }
        }
        def all = within != null ? within.getGeometry() :
            GeometryTools.union(regions.collect { it.getROI().getGeometry() })
        PathObject top = annotation(all, null, 'LungXAI run ' + run + ' (research use only)', said)
        top.getMeasurementList().put('LungXAI tiles', tiles.size() as double)
        result.probabilities.findAll { name, p -> p != null }.each { name, p ->
            top.getMeasurementList().put('LungXAI P(' + LungXAI.LABELS[name] + ')', p as double)
        }
        top.addChildObjects(regions + tiles)
        return top
    }

    private static int bestOf(List row) {
        int best = -1
        for (int c = 0; c < row.size(); c++)
            if (row[c] != null && (best < 0 || (row[c] as double) > (row[best] as double)))
                best = c
        return best
    }

    private PathObject annotation(geometry, PathClass kind, String name, Map<String, String> said) {
        ROI area = GeometryTools.geometryToROI(geometry, ImagePlane.getDefaultPlane())
        PathObject made = PathObjects.createAnnotationObject(area, kind)
        made.setName(name)
        said.each { key, text -> if (text) made.getMetadata().put(key, text) }
        made.setLocked(true)
        return made
    }

    private static PathClass pathClass(String name, List<Integer> colour) {
        Integer packed = ColorTools.packRGB(colour[0], colour[1], colour[2])
        PathClass made = PathClass.getInstance(name, packed)
        made.setColor(packed) // a class that QuPath knew before keeps its colour otherwise
        return made
    }

    private static Map<String, String> madeBy(provenance, String run, String caseId) {
        List models = provenance instanceof List ? provenance : [provenance]
        List unknown = LungXAI.CLASSES.findAll { name -> !models.any { name in it.coverage } }
        return [(LungXAI.RUN_KEY): run, (LungXAI.CASE_KEY): caseId, 'LungXAI notice': LungXAI.NOTICE,
                'LungXAI model': models*.model_id.join(', '),
                'LungXAI weights sha256': models*.weights_sha256.join(', '),
                'LungXAI not assessed': unknown.collect { LungXAI.LABELS[it] }.join(', ')]
    }

    // Explain

    /** The methods that the server's model for slides can be explained by. */
    List<String> methods() {
        List<String> known = (connection.slideModel().methods ?: []) as List<String>
        if (known.isEmpty())
            throw new LungXAI.Problem('ModelUnavailable', 'The server\'s model for slides cannot be explained.',
                'Update the server.')
        return known
    }

    /** Explains a run: an annotation per step of the heatmap, and a measurement per tile; how many tiles have it. */
    int explain(PathObject top, String method) {
        String run = top.getMetadata().get(LungXAI.RUN_KEY)
        String id = top.getMetadata().get(LungXAI.CASE_KEY)
        String slideId = top.getMetadata().get('LungXAI slide')
        PathObject first = top.getChildObjects().find { it.isTile() }
        if (!id || !slideId || first == null)
            throw new LungXAI.Problem('InvalidInput', 'This run does not say its case on the server.',
                'Classify the region with LungXAI_classify, then explain that run.')
        PathObject chosen = QP.getSelectedObject()
        ROI only = chosen != null && chosen.isTile() ? chosen.getROI() : null
        def progress = new Progress('LungXAI: explain', window())
        try {
            progress.at(0d, 'Asking for ' + METHODS[method])
            // Runs of the command say it, since their tiles may be drawn smaller than the field that the model sees.
            String field = top.getMetadata().get('LungXAI field px')
            List<Double> sides = field ==~ /[0-9.]{1,20} [0-9.]{1,20}/ ? field.split(' ')*.toDouble() :
                [first.getROI().getBoundsWidth(), first.getROI().getBoundsHeight()]
            String job = connection.classify(id, slideId, [method], sides[0], sides[1])
            connection.follow(job, { fraction, stage -> progress.at(0.9d * (fraction as double), stage as String) },
                { progress.cancelled() } as Callable<Boolean>)
            def map = connection.heatmap(id, method)
            float[] values = map.values
            int columns = map.shape[1] as int
            def drawn = LungXAI.Steps.coarser(values, columns, map.index_to_world as List,
                (map.parameters.cells_per_tile ?: 0) as int)
            if (drawn.values.length > MAX_CELLS && only == null)
                throw new LungXAI.Problem('InputTooLarge', 'The heatmap is too large for annotations.',
                    'Select a tile, or classify a smaller region.')
            progress.at(0.9d, 'Drawing')
            int measured = 0
            for (tile in top.getChildObjects().findAll { it.isTile() }) {
                ROI box = tile.getROI()
                double mean = LungXAI.Steps.mean(values, columns, map.index_to_world, box.getBoundsX(),
                    box.getBoundsY(), box.getBoundsWidth(), box.getBoundsHeight())
                if (!Double.isNaN(mean)) {
                    tile.getMeasurementList().put('Attribution (' + METHODS[method] + ')', mean)
                    measured++
                }
            }
            Map<String, String> said = madeBy(map.provenance, run, id) +
                ['LungXAI method': method, 'LungXAI target': map.target,
                    'LungXAI parameters': map.parameters.toString(), 'LungXAI trust': trust(map.parameters)]
            List<PathObject> steps = contours(drawn, map.target as String, method, said, only)
            top.removeChildObjects(top.getChildObjects()
                .findAll { it.isAnnotation() && it.getMetadata().get('LungXAI method') == method })
            top.addChildObjects(steps)
            QP.getCurrentHierarchy().fireHierarchyChangedEvent(this)
            if (only != null) {
                def numbers = chosen.getMeasurements().collect { name, value -> name + ': ' + value }
                show('LungXAI: ' + METHODS[method], (numbers + LungXAI.NOTICE).join('\n'))
            }
            return measured
        } finally {
            progress.end()
        }
    }

    /** How far a method's maps can be trusted on this model, as shared_models/contract/heatmap_words.py says it. */
    private static String trust(Map parameters) {
        String failed = parameters.sanity_check == 'failed' ?
            'FAILS the sanity check: this map hardly depends on what the model learned; ' : ''
        return failed + (parameters.faithfulness ?: 'how faithful this map is was not measured')
    }

    /** Annotations of the steps of a heatmap, for its target and against it, of the whole map or of one tile's cells. */
    private List<PathObject> contours(Map map, String target, String method, Map<String, String> said, ROI only) {
        float[] values = map.values
        float top = LungXAI.Steps.top(values)
        return steps(values, map, top, method, target, false, said, only) +
            steps(LungXAI.Steps.negated(values), map, top, method, target, true, said, only)
    }

    private List<PathObject> steps(float[] values, Map map, float top, String method, String target, boolean against,
        Map<String, String> said, ROI only) {
        List<PathObject> made = []
        String word = against ? ' against' : ''
        for (int k = 2; k <= LEVELS; k++) {
            def boxes = []
            for (run in LungXAI.Steps.runs(values, map.columns as int, k, LEVELS, top)) {
                double[] first = LungXAI.Steps.place(map.matrix as List, run[1] - 0.5d, run[0] - 0.5d)
                double[] last = LungXAI.Steps.place(map.matrix as List, run[2] - 0.5d, run[0] + 0.5d)
                boxes << ROIs.createRectangleROI(first[0], first[1], last[0] - first[0], last[1] - first[1],
                    ImagePlane.getDefaultPlane()).getGeometry()
            }
            if (boxes.isEmpty())
                continue
            def whole = GeometryTools.union(boxes)
            if (only != null)
                whole = GeometryTools.ensurePolygonal(whole.intersection(only.getGeometry()))
            if (whole.isEmpty())
                continue
            String name = 'LungXAI ' + method + word + ' ' + k + '/' + LEVELS
            String title = METHODS[method] + ':' + word + ' ' + (LungXAI.LABELS[target] ?: target) + ', step ' + k +
                ' of ' + LEVELS + ' (research use only)'
            PathObject step = annotation(whole, pathClass(name, LungXAI.heatColour((k - 0.5d) / LEVELS, against)),
                title, said)
            step.getMeasurementList().put('LungXAI value from', top * (k - 1d) / LEVELS)
            step.getMeasurementList().put('LungXAI value to', top * (double) k / LEVELS)
            made << step
        }
        return made
    }

    // Fused result

    /** Fuses a case; its answer in words. The report is kept beside the project, or in the temporary folder. */
    String fused(String caseId) {
        def answer = connection.fuse(caseId)
        File report = new File(reports(), 'LungXAI_' + caseId + '.html')
        report.bytes = connection.report(caseId)
        Map<String, String> said = ['LungXAI case': caseId, 'LungXAI notice': LungXAI.NOTICE,
            'LungXAI report': report.toURI().toString(),
                                    'LungXAI missing': answer.missing.join(', '), 'LungXAI agreement': answer.agreement]
        if (answer.abstention != null)
            said['LungXAI abstention'] = answer.abstention.reason
        note(said + ofSlide(answer.probabilities, 'LungXAI fused P'))
        String words = answer.abstention == null ? LungXAI.inWords(answer.probabilities) :
            'No answer: ' + answer.abstention.reason + '\n' + answer.abstention.what_would_help
        String missing = answer.missing ? 'Missing: ' + answer.missing.join(', ') : ''
        return [words, answer.agreement, missing, 'Report: ' + report, LungXAI.NOTICE].findAll { it }.join('\n')
    }

    private static File reports() {
        if (QP.getProject() == null)
            return new File(System.getProperty('java.io.tmpdir'))
        File kept = new File(QP.buildFilePath(QP.PROJECT_BASE_DIR, 'LungXAI'))
        kept.mkdirs()
        return kept
    }

    private static Map<String, String> ofSlide(Map probabilities, String name) {
        return LungXAI.CLASSES.collectEntries { c ->
            def p = probabilities[c]
            String share = p == null ? 'not assessed' : String.format(Locale.ROOT, '%.4f', p as double)
            [(name + '(' + LungXAI.LABELS[c] + ')'): share]
        }
    }

    /** Into the image's metadata, which the project lists beside the image. */
    private static void note(Map<String, String> said) {
        def entry = QP.getProjectEntry()
        if (entry == null)
            return // an image without a project has no metadata to write to
        said.each { key, text -> entry.putMetadataValue(key, text as String) }
        QP.getProject().syncChanges()
    }

    // Runs

    /** The annotations of runs on the image, by run. */
    static Map<String, PathObject> runs() {
        return QP.getCurrentHierarchy().getAnnotationObjects()
            .findAll { it.getMetadata().containsKey(LungXAI.RUN_KEY) &&
                !it.getParent()?.getMetadata()?.containsKey(LungXAI.RUN_KEY) &&
                !it.getMetadata().containsKey('LungXAI method') }
            .collectEntries { [(it.getMetadata().get(LungXAI.RUN_KEY)): it] }
    }

    /** The run to work on: the one of the selected object, the only one, or the one that is chosen. */
    PathObject chosenRun() {
        def found = runs()
        if (found.isEmpty())
            throw new LungXAI.Problem('InvalidInput', 'There is no LungXAI run on this image.',
                'Run LungXAI_classify first.')
        String usual = found.keySet().first()
        if (!given.containsKey('run')) {
            for (PathObject object = QP.getSelectedObject(); object != null; object = object.getParent())
                if (found.containsValue(object))
                    return object
            if (found.size() == 1)
                return found[usual]
        }
        return found[choose('run', 'Which run?', found.keySet() as List, usual)]
    }

    /** Removes all of a run; how many objects went. */
    static int remove(String run) {
        def hierarchy = QP.getCurrentHierarchy()
        def own = hierarchy.getAnnotationObjects().findAll { it.getMetadata().get(LungXAI.RUN_KEY) == run }
        Set gone = new LinkedHashSet()
        def add
        add = { object ->
            gone << object
            object.getChildObjects()
                .findAll { !it.isAnnotation() || it.getMetadata().get(LungXAI.RUN_KEY) == run }.each(add)
        }
        own.each { add(it) }
        // What a pathologist drew inside stays, at the place of what goes.
        hierarchy.removeObjects(gone as List, true)
        QP.getCurrentHierarchy().fireHierarchyChangedEvent(LungXAIQuPath)
        return gone.size()
    }

    /** QuPath's progress window with its Cancel, or lines of text where there is no window. */
    @CompileStatic
    static class Progress {
        private final SimpleProgressMonitor monitor
        private int told = 0

        Progress(String title, Object window) {
            monitor = window == null ? new CommandLineTaskRunner().makeProgressMonitor() : ofWindow(window)
            monitor.startMonitoring(title, 1000, true)
        }

        private static SimpleProgressMonitor ofWindow(Object window) {
            Class runner = Class.forName('qupath.lib.gui.TaskRunnerFX', true, LungXAIQuPath.classLoader)
            Object made = runner.getConstructor(window.getClass()).newInstance(window)
            return (SimpleProgressMonitor) runner.getMethod('makeProgressMonitor').invoke(made)
        }

        /** Moves on to a fraction, 0 to 1. The last step is kept for end(), since the window closes with it. */
        void at(double fraction, String stage) {
            int now = (int) Math.min(Math.max(Math.floor(fraction * 1000), (double) told), 999d)
            monitor.updateProgress(now - told, stage, null)
            told = now
        }

        boolean cancelled() { return monitor.cancelled() }

        /** Ends the work where Cancel was pressed. */
        void stop() {
            if (monitor.cancelled() || Thread.currentThread().isInterrupted())
                throw new LungXAI.Problem('Cancelled', 'Cancelled. Nothing was added to the slide.', '')
        }

        void end() { monitor.pluginCompleted('') }
    }
}
