"""Simplified Chinese. Blender's own words where it has them."""

from __future__ import annotations

TEXTS = {
    # the panel
    "Object": "物体",
    "Advanced": "高级",
    "Presets": "预设",
    "Drop images of one object": "将同一物体的图像",
    "onto the viewport": "拖放到视图中",
    "{n} views of one object": "同一物体的 {n} 个视图",
    "Add Images...": "添加图像...",
    "Choose Another Image...": "选择其他图像...",
    # images
    "Add Images to Espalier": "添加图像到 Espalier",
    "Choose reference images of one object: one picture, or several views": (
        "选择同一物体的参考图像：一张图片或多个视图"
    ),
    "Replace": "替换",
    "Take the images away that are on the list": "移除列表中已有的图像",
    "Add Image of This File": "添加此文件中的图像",
    "Choose one of the images of this .blend: packed, generated, painted or pasted ones too": (
        "选择此 .blend 中的图像，包括已打包、生成、绘制或粘贴的图像"
    ),
    "Image": "图像",
    "An image of this .blend": "此 .blend 中的图像",
    "An image of this .blend, in place of a file": "此 .blend 中的图像，代替文件",
    "There are no images in this file": "此文件中没有图像",
    "Add Render Result": "添加渲染结果",
    "Take the picture that was rendered last, as it is now": "使用最近一次渲染的图片",
    "Nothing was rendered yet": "尚未渲染",
    "Wait until the render is finished": "请等待渲染完成",
    "Paste Image": "粘贴图像",
    "Take the image on the clipboard": "使用剪贴板中的图像",
    "There is no image on the clipboard": "剪贴板中没有图像",
    "There is no image on the clipboard, or the system does not hand it to Blender, as with X11": (
        "剪贴板中没有图像，或系统不向 Blender 提供图像（例如 X11）"
    ),
    "Remove Image": "移除图像",
    "Take this image off the list; the image itself stays": "从列表中移除此图像；图像本身保留",
    "Move Image": "移动图像",
    "Move this image on the list. The first one gives the object its name": (
        "在列表中移动此图像。物体以第一张图像命名"
    ),
    "Path": "路径",
    "The image file": "图像文件",
    "images": "图像",
    # model and quality
    "Model": "模型",
    "The model that makes the object: its name, or the path of its folder": "生成物体的模型：名称或文件夹路径",
    "The model that makes the object. More can be downloaded in the preferences": (
        "生成物体的模型。可在偏好设置中下载更多模型"
    ),
    "Quality": "质量",
    "In how many steps the object is made: fewer are quicker, more are better": (
        "生成物体的步数：步数少则快，步数多则好"
    ),
    "Mini (Demonstration)": "Mini（演示）",
    "{n} Step": "{n} 步",
    "{n} Steps": "{n} 步",
    "Its Own": "模型自带",
    "Distilled to few steps: quick": "蒸馏为少数几步：速度快",
    "All the steps that it was made for": "模型设计的全部步数",
    "The number of steps that is set below Advanced": "在“高级”中设置的步数",
    "Choose Steps": "选择步数",
    "Choose the number of sampling steps; otherwise there are as many as the model was made for": (
        "选择采样步数；否则使用模型设计的步数"
    ),
    "Steps": "步数",
    "Sampling steps for the shape, and as many for the detail: more take longer": (
        "形状的采样步数，细节的步数相同：步数越多耗时越长"
    ),
    "Choose Guidance": "选择引导强度",
    "Choose how strongly the images guide the object; otherwise the model's own value is taken": (
        "选择图像对物体的引导强度；否则使用模型自带的值"
    ),
    "Guidance": "引导强度",
    "How strongly the images guide the object": "图像对物体的引导强度",
    "Views": "视图",
    "How several images act together": "多张图像如何共同作用",
    "All at Once": "同时",
    "All images act in every step: best with few steps": "每一步都使用全部图像：最适合步数少的情况",
    "In Turns": "轮流",
    "Each step looks at one of the images: quicker, for many steps": "每一步使用其中一张图像：更快，适合步数多的情况",
    # seed and variants
    "Seed": "随机种",
    "Another seed gives another object from the same images; the same seed gives the same one": (
        "相同的图像，不同的随机种得到不同的物体；相同的随机种得到相同的物体"
    ),
    "Lock Seed": "锁定随机种",
    "Keep this seed. Otherwise each press of Generate 3D takes a new one": (
        "保留此随机种。否则每次按下“生成 3D”都使用新的随机种"
    ),
    "New Seed": "新随机种",
    "Roll the dice for a new seed": "掷骰子得到新的随机种",
    "Variants": "变体",
    "How many objects to make, side by side, each with a seed of its own": ("并排生成多少个物体，每个都有自己的随机种"),
    # the object
    "Where": "位置",
    "Where the object is put": "物体放置的位置",
    "3D Cursor": "3D 游标",
    "At the 3D cursor": "在 3D 游标处",
    "Ground": "地面",
    "On what lies below the 3D cursor, or at height zero": "在 3D 游标下方的表面上，或高度为零处",
    "World Origin": "世界原点",
    "At the origin of the world": "在世界原点处",
    "Active Object": "活动物体",
    "At the place of the active object, and as large": "在活动物体处，大小与其相同",
    "Size": "尺寸",
    "Length of the object's longest side": "物体最长边的长度",
    "Faces": "面",
    "How many triangles the finished mesh may have": "最终网格最多有多少个三角面",
    "Texture": "纹理",
    "Width and height of the texture, in pixels": "纹理的宽度和高度（像素）",
    "Texture Source": "纹理来源",
    "Where the colours of the texture come from": "纹理颜色的来源",
    "Vertex Colors": "顶点颜色",
    "The colours of the decoded mesh's vertices: every model has them": "解码网格的顶点颜色：所有模型都有",
    "Gaussians": "高斯",
    "The 3-D Gaussians around the surface: sharper, where the model has them": (
        "表面周围的 3D 高斯：更清晰，需模型支持"
    ),
    "Normal Map": "法线贴图",
    "Bake the detail of the decoded mesh, so that few faces look like many": (
        "烘焙解码网格的细节，使较少的面看起来像很多面"
    ),
    "Ambient Occlusion": "环境光遮蔽",
    "Bake how open each place lies, as a map for game engines; it is in exported glTF files": (
        "烘焙各处的开放程度，作为游戏引擎用的贴图；导出的 glTF 文件中包含它"
    ),
    "Keep Raw": "保留原始网格",
    "Keep the mesh as it was decoded, with its vertex colours, as a second, hidden object": (
        "将解码得到的网格及其顶点颜色保留为另一个隐藏物体"
    ),
    "Low Memory": "低内存",
    "Hold each network in memory only while it is used: slower, and the same result": (
        "仅在使用时将各网络保留在内存中：较慢，结果相同"
    ),
    "Retry For": "重试时长",
    "How many seconds to try again when a shape cannot be that of the image; 0: never": (
        "形状与图像不符时重试的秒数；0 表示不重试"
    ),
    "Show Texture": "显示纹理",
    "Show textures in this viewport's Solid shading, or materials' plain colors again": (
        "在此视图的实体着色中显示纹理，或恢复显示材质颜色"
    ),
    # the button
    "Generate 3D": "生成 3D",
    "Make a textured mesh of what the images show. Work can go on meanwhile": (
        "根据图像内容生成带纹理的网格。期间可以继续工作"
    ),
    "Install the backend first": "请先安装后端",
    "Add an image first": "请先添加图像",
    "The model {name} is not installed": "模型 {name} 未安装",
    "There is no active object whose place could be taken": "没有可以取其位置的活动物体",
    # jobs
    "{n} objects to make": "待生成 {n} 个物体",
    "Loading the model": "加载模型",
    "Preparing the image": "准备图像",
    "Looking at the image": "分析图像",
    "Shape": "形状",
    "Detail": "细节",
    "Surface": "表面",
    "Starting": "开始",
    "Starting the backend": "正在启动后端",
    "Waiting": "等待中",
    "Cancelling": "正在取消",
    "{time} left": "剩余 {time}",
    "Cancel": "取消",
    "Stop making this object": "停止生成此物体",
    "Cancel All": "全部取消",
    "Stop making all these objects": "停止生成所有这些物体",
    "Try Again": "重试",
    "Make this object again": "重新生成此物体",
    "Try Again with Less Memory": "以较少内存重试",
    "Try Another Seed": "尝试其他随机种",
    "Run Again": "再次运行",
    "Blender was closed before it was done": "完成之前 Blender 已关闭",
    "Insert": "插入",
    "Made in a file or scene that is no longer open": "生成时所在的文件或场景已不再打开",
    "Waits until {what} is finished": "等待{what}结束",
    "Dismiss": "移除",
    "Take this off the list": "从列表中移除",
    "Open Log": "打开日志",
    "Open Preferences": "打开偏好设置",
    "Open Espalier's preferences": "打开 Espalier 的偏好设置",
    "Add Espalier Preset": "添加 Espalier 预设",
    "Save these settings under a name, or delete those of a name": "以名称保存这些设置，或删除某个名称的设置",
    # selected objects and the history
    "History": "历史",
    "Regenerate as in Panel": "按面板设置重新生成",
    "Regenerate with New Seed": "用新随机种重新生成",
    "Selected Object": "所选物体",
    "What is made will be listed here": "生成的内容将列在此处",
    "Count": "数量",
    "How": "方式",
    "How many variants to make": "生成多少个变体",
    "Insert Again": "再次插入",
    "Keep the shape of the selected objects and paint them after the images in the panel": (
        "保留所选物体的形状，并按面板中的图像上色"
    ),
    "Leave Edit Mode first": "请先退出编辑模式",
    "Made by Espalier, seed {seed}": "由 Espalier 生成，随机种 {seed}",
    "Make the selected objects again, in place: transform, parent, modifiers and name stay": (
        "原位重新生成所选物体：变换、父级、修改器和名称保持不变"
    ),
    "Make variants of the selected object, with other seeds, in a row beside it": (
        "用其他随机种生成所选物体的变体，在其旁边排成一行"
    ),
    "Mark as Asset": "标记为资产",
    "Mark the selected objects as assets, with a preview, for the asset browser": (
        "将所选物体标记为资产（带预览图），用于资产浏览器"
    ),
    "Not restored: {what}": "未恢复：{what}",
    "Panel's Settings": "面板设置",
    "Put this result of the past at the 3D cursor. It is made again if its files are no longer there": (
        "将此历史结果放到 3D 游标处。如果文件已不存在，则重新生成"
    ),
    "Regenerate": "重新生成",
    "Remove from History": "从历史中移除",
    "Restore Settings": "恢复设置",
    "Retexture": "重新生成纹理",
    "Select a mesh with faces": "请选择有面的网格",
    "Show in the panel the images and settings that the active object was made with": (
        "在面板中显示生成活动物体时使用的图像和设置"
    ),
    "Take this off the history. Objects in the scene stay": "从历史中移除。场景中的物体保留",
    "With the images and settings that the panel shows": "使用面板显示的图像和设置",
    "With the settings and images that the object was made with, and another seed": (
        "使用生成该物体时的设置和图像，并换一个随机种"
    ),
    "Select an object that Espalier made": "请选择由 Espalier 生成的物体",
    # the first run
    "Installing the backend. Work can go on meanwhile.": "正在安装后端。期间可以继续工作。",
    "No environment runs the backend: scripts/dev.py setup makes one in this checkout.": (
        "没有运行后端的环境：scripts/dev.py setup 可在此检出中创建。"
    ),
    "One step to go: Espalier computes with a program of its own, which is installed once.": (
        "还差一步：Espalier 使用自己的程序进行计算，只需安装一次。"
    ),
    "Install the Backend": "安装后端",
    "Install": "安装",
    "Repair": "修复",
    "Go On": "继续",
    "Install what Espalier computes with, into a folder of its own. Work can go on meanwhile": (
        "将 Espalier 的计算程序安装到独立文件夹。期间可以继续工作"
    ),
    "Stop installing. What has arrived is kept, and installing again goes on from there": (
        "停止安装。已下载的内容会保留，再次安装时从该处继续"
    ),
    "Stop this. What has arrived is kept, and downloading again goes on from there": (
        "停止。已下载的内容会保留，再次下载时从该处继续"
    ),
    "Download": "下载",
    "Download this model, and what it needs, after showing size and licence": (
        "显示大小和许可后，下载此模型及其所需内容"
    ),
    "{name} is a demonstration model: it knows a dozen kinds of things, such as chairs and houses.": (
        "{name} 是演示模型：只认识十几种物品，例如椅子和房屋。"
    ),
    "Get TRELLIS ({size})...": "获取 TRELLIS（{size}）...",
    "Turn on Allow Online Access in Preferences > System": "请在“偏好设置 > 系统”中允许在线访问",
    "Blender was started in offline mode: start it without --offline-mode": (
        "Blender 以离线模式启动：请不带 --offline-mode 启动"
    ),
    "The backend is being installed": "正在安装后端",
    # the preferences, and what the installation and a job say
    "A Python 3.11 with torch that runs the backend in place of the installed environment. Empty: the "
    "one in ESPALIER_PYTHON, else the installed one, else that of the checkout": (
        "代替已安装的环境来运行后端的、带有 torch 的 Python 3.11。"
        "留空：使用 ESPALIER_PYTHON 中的，否则使用已安装的，再否则使用检出目录的"
    ),
    "A folder with torch's wheels, and uv's archive of Python 3.11 unless one is given, to install without a network": (
        "含有 torch 的 wheel 的文件夹；若未指定 Python 3.11，还需含有 uv 的 Python 3.11 归档，用于无网络安装"
    ),
    "A wheel is not the one that was locked.": "有一个 wheel 与锁定的不符。",
    "Accept and Download": "接受并下载",
    "Address of the package index that torch comes from, for mirrors. Empty: https://pypi.org/simple, "
    "and for builds that are not there torch's own": (
        "提供 torch 的软件包索引地址，用于镜像。留空：https://pypi.org/simple，其中没有的构建则取自 torch 自己的索引"
    ),
    "Backend": "后端",
    "Backend Python": "后端的 Python",
    "Compare this model's files with what was downloaded": "将此模型的文件与下载的内容进行比对",
    "Delete": "删除",
    "Delete the backend's environment and what was downloaded for it. Models are kept": (
        "删除后端的环境及为其下载的内容。模型会保留"
    ),
    "Delete this model's files": "删除此模型的文件",
    "Downloading torch": "正在下载 torch",
    "End the backend, which gives all its memory back. The next job starts it again": (
        "结束后端，释放其全部内存。下一个任务会重新启动它"
    ),
    "Failed: {why}": "失败：{why}",
    "Folder of Wheels": "Wheel 文件夹",
    "Free Memory": "释放内存",
    "Free Memory After": "多久后释放内存",
    "Free some space and try again.": "请腾出一些空间后重试。",
    "Free some space. What has arrived is kept.": "请腾出一些空间。已下载的内容会保留。",
    "Getting Python 3.11": "正在获取 Python 3.11",
    "Install Microsoft's Visual C++ Redistributable: https://aka.ms/vs/17/release/vc_redist.x64.exe": (
        "请安装 Microsoft Visual C++ 可再发行组件：https://aka.ms/vs/17/release/vc_redist.x64.exe"
    ),
    "Install the extension again.": "请重新安装此扩展。",
    "Installing and downloading need the network, which Blender does not allow now": (
        "安装和下载需要网络，而 Blender 目前不允许联网"
    ),
    "Installing the packages": "正在安装软件包",
    "Installing torch": "正在安装 torch",
    "It is being worked on": "正在处理中",
    "Licence: {licence}": "许可证：{licence}",
    "Looking at this machine": "正在检查这台机器",
    "Made before Blender was closed, in the place of {name}": "在 Blender 关闭之前完成，用于替换 {name}",
    "Making the environment": "正在创建环境",
    "Minutes without a job after which the backend ends, which gives its memory back. The next job "
    "starts it again, which takes some seconds. 0: never": (
        "没有任务达到此分钟数后结束后端并释放其内存。下一个任务会重新启动它，需要几秒钟。0：从不"
    ),
    "Models": "模型",
    "Models Folder": "模型文件夹",
    "Now": "立即",
    "Not installed.": "未安装。",
    "Nothing to download, {disk} of disk ({free} are free), about {minutes} min.": (
        "无需下载，占用磁盘 {disk}（可用 {free}），约 {minutes} 分钟。"
    ),
    "Package Index": "软件包索引",
    "Put it there, or choose a Python 3.11.": "请将其放入该文件夹，或选择一个 Python 3.11。",
    "Put this finished object into the scene: in its place if that is there, else at the 3D cursor": (
        "将此完成的物体放入场景：若原位置仍在则放回原处，否则放在 3D 游标处"
    ),
    "Python 3.11": "Python 3.11",
    "Python 3.11 could not be downloaded.": "无法下载 Python 3.11。",
    "Ready": "就绪",
    "Ready ({device})": "就绪（{device}）",
    "processor": "处理器",
    "Apple GPU": "Apple GPU",
    "Remove": "移除",
    "Shown when the backend is installed": "安装后端后显示",
    "The Python 3.11 that the backend's environment is made from. Empty: one is downloaded (30 MB)": (
        "用来创建后端环境的 Python 3.11。留空：自动下载（30 MB）"
    ),
    "The backend is not running": "后端未在运行",
    "The backend's environment cannot start.": "无法启动后端的环境。",
    "The disk is full.": "磁盘已满。",
    "The image {name} is no longer in this file": "图像 {name} 已不在此文件中",
    "The installation was interrupted.": "安装被中断。",
    "This is a checkout: its own environment runs the backend.": "这是一个检出目录：后端由其自身的环境运行。",
    "This is a checkout: scripts/dev.py makes its environment": ("这是一个检出目录：其环境由 scripts/dev.py 创建"),
    "This version of the extension needs other packages.": "此版本的扩展需要其他软件包。",
    "Trying it": "正在测试",
    "Compiling": "正在编译",
    "Unpacking uv": "正在解压 uv",
    "Verify": "校验",
    "Wait until the jobs are done": "请等待任务完成",
    "Wait until the models are free": "请等待模型空闲",
    "Where models are downloaded to. All versions of Blender share it, and it stays when the extension "
    "is removed. Empty: a folder among the user's application data": (
        "模型的下载位置。所有版本的 Blender 共用，移除扩展后仍会保留。留空：用户应用数据中的一个文件夹"
    ),
    "bundled": "随附",
    "damaged: download it again": "已损坏：请重新下载",
    "installed": "已安装",
    "partly downloaded": "部分已下载",
    "the image {name}": "图像 {name}",
    "the mesh has as many UV maps as it can have": "该网格的 UV 贴图数量已达上限",
    "the mesh was changed in the meantime": "该网格在此期间被修改",
    "torch cannot be loaded: a Windows library is missing.": "无法加载 torch：缺少一个 Windows 库。",
    "torch did not say what it runs on.": "torch 没有说明它在什么设备上运行。",
    "your own": "自有",
    "{download} to download, {disk} of disk ({free} are free), about {minutes} min at 5 MB/s.": (
        "需下载 {download}，占用磁盘 {disk}（可用 {free}），按 5 MB/s 约 {minutes} 分钟。"
    ),
    "{free} are free in {folder}": "{folder} 中可用 {free}",
    "{name} has no faces": "{name} 没有面",
    "{name} has no pixels: its file may have been moved": "{name} 没有像素：其文件可能已被移动",
    "{needed} to download, {free} are free in {folder}": "需下载 {needed}，{folder} 中可用 {free}",
    "{n} faces were cut where the seams of the texture run": "在纹理接缝处切开了 {n} 个面",
    "{present} of {size} downloaded": "已下载 {present}（共 {size}）",
}
