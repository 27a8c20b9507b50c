// Draws images and writes their bytes, image after image:  Draw MODEL OUT COUNT SEED [LABEL]

import java.io.File
import kotlin.system.exitProcess
import uniffi.prism.Model
import uniffi.prism.ModelException
import uniffi.prism.Precision

fun main(args: Array<String>) {
    try {
        Model.open(args[0]).use { model ->
            val pixels = model.sample(args[2].toUInt(), args[3].toULong(), Precision.I16, args.getOrNull(4))
            File(args[1]).writeBytes(pixels)
        }
    } catch (why: ModelException) {
        System.err.println("error: ${why.message}")
        exitProcess(1)
    }
}
